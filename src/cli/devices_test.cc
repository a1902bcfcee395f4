#include <gtest/gtest.h>

#include "cli/commands.h"
#include "cli/test_session.h"

namespace glowplug::cli {
namespace {

const std::string kDevices =
    R"({"object":"list","data":[)"
    R"({"id":"T4:0","type":"T4","origin":"declared","memory_bytes":17179869184,)"
    R"("reserved_bytes":7000000000,"functions":["a","b"],"health":"healthy","quarantined_ms":null},)"
    R"({"id":"T4:1","type":"T4","origin":"found","memory_bytes":17179869184,"reserved_bytes":0,)"
    R"("functions":[],"health":"quarantined","quarantined_ms":29001},)"
    R"({"id":"CPU","type":"CPU","origin":"found","memory_bytes":8000000000,)"
    R"("reserved_bytes":94300000,"functions":["c"],"health":"healthy","quarantined_ms":null}]})";

TEST(Devices, Table_ShowsEachWithWhatIsOnIt) {
  Session session({json_answer(200, kDevices)});
  EXPECT_EQ(devices(session.context), 0);
  EXPECT_TRUE(session.server.requests().at(0).starts_with("GET /v1/admin/devices "));
  EXPECT_EQ(session.out.str(),
            "DEVICE  TYPE  ORIGIN     MEMORY  RESERVED  FUNCTIONS  HEALTH\n"
            "T4:0    T4    declared  17.2 GB    7.0 GB  a, b       healthy\n"
            "T4:1    T4    found     17.2 GB       0 B  -          quarantined for 30.0 s\n"
            "CPU     CPU   found      8.0 GB   94.3 MB  c          healthy\n");
}

TEST(Devices, Json_IsTheServers) {
  Session session({json_answer(200, kDevices)}, Output::Json);
  EXPECT_EQ(devices(session.context), 0);
  EXPECT_NE(session.out.str().find(R"("id":"T4:1")"), std::string::npos);
}

TEST(Devices, AnswerOfAnotherServer_IsNoCrash) {
  Session empty({json_answer(200, "{}")});
  EXPECT_EQ(devices(empty.context), 0);
  Session odd({json_answer(200, R"({"data":[5,{"functions":7},{"functions":[1]}]})")});
  EXPECT_EQ(devices(odd.context), 0);
  Session garbled({json_answer(200, "<html>")});
  EXPECT_EQ(devices(garbled.context), 1);
}

}  // namespace
}  // namespace glowplug::cli
