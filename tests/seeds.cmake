# Plays scenarios of the simulator: none may fail, and none may have fewer calls or faults than is said of them.
#   cmake -DGLOWPLUG=… -DSEEDS=1..10000 -DJOBS=2 -DCALLS=1000 -DFAULTS=20 -P seeds.cmake
cmake_minimum_required(VERSION 3.25)

execute_process(COMMAND ${GLOWPLUG} simulate --seeds ${SEEDS} --jobs ${JOBS} --json
  OUTPUT_VARIABLE figures RESULT_VARIABLE code)
message("${figures}")
if(NOT code EQUAL 0)
  message(FATAL_ERROR "simulate --seeds ${SEEDS} ended with ${code}")
endif()
foreach(least IN ITEMS calls_least:${CALLS} faults_least:${FAULTS})
  string(REPLACE ":" ";" least ${least})
  list(GET least 0 name)
  list(GET least 1 asked)
  string(JSON found GET "${figures}" ${name})
  if(found LESS asked)
    message(FATAL_ERROR "${name} is ${found}; each seed is to have ${asked}")
  endif()
endforeach()
