// Names of hosts for the process that preloads it (host_names.py): those that stand in the file HOST_NAMES names, each
// line "name address", lead where it says at that moment. All others are asked for as ever.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int Ask(const char*, const char*, const struct addrinfo*, struct addrinfo**);

int getaddrinfo(const char* node, const char* service, const struct addrinfo* hints, struct addrinfo** found) {
  Ask* const ask = (Ask*)dlsym(RTLD_NEXT, "getaddrinfo");
  const char* path = getenv("HOST_NAMES");
  FILE* file = node == NULL || path == NULL ? NULL : fopen(path, "re");
  char name[256], address[64];
  while (file != NULL && fscanf(file, "%255s %63s", name, address) == 2) {
    if (strcmp(name, node) != 0) continue;
    fclose(file);
    return ask(address, service, hints, found);
  }
  if (file != NULL) fclose(file);
  return ask(node, service, hints, found);
}
