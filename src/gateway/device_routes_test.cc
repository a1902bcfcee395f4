// The devices over a real socket.
#include "gateway/test_gateway.h"

namespace glowplug::gateway {
namespace {

class DeviceRoutesTest : public GatewayTest {
 protected:
  std::string ask() { return talk(get("/v1/admin/devices"), "]}"); }
};

TEST_F(DeviceRoutesTest, EachDevice_WithWhatIsOnIt) {
  platform_.device_views = {
      {.device = {.name = "A10G:0", .type = "A10G", .memory_bytes = 100, .numa_node = 1},
       .reserved_bytes = 60,
       .functions = {"a", "b"}},
      {.device = {.name = "CPU",
                  .type = "CPU",
                  .memory_bytes = 50,
                  .origin = domain::DeviceOrigin::Found},
       .reserved_bytes = 70}};
  const std::string answer = ask();
  EXPECT_TRUE(has(answer, "HTTP/1.1 200 OK\r\n")) << answer;
  EXPECT_TRUE(has(answer,
                  R"({"id":"A10G:0","type":"A10G","origin":"declared","memory_bytes":100,)"
                  R"("reserved_bytes":60,"free_bytes":40,"functions":["a","b"],)"
                  R"("health":"healthy","failed_starts":0,"quarantined_ms":null,"numa_node":1})"))
      << answer;
  EXPECT_TRUE(has(answer, R"("free_bytes":0,"functions":[],)")) << answer;
  EXPECT_TRUE(has(answer, R"("cores":1,"numa_nodes":[]})")) << answer;
}

TEST_F(DeviceRoutesTest, Quarantine_IsToldWithTheTimeLeft) {
  platform_.device_views = {{.device = {.name = "T4:0", .type = "T4", .memory_bytes = 100},
                             .health = domain::DeviceHealth::Quarantined,
                             .failed_starts = 3,
                             .quarantined_until = Time::max()}};
  const std::string answer = ask();
  EXPECT_TRUE(has(answer, R"("health":"quarantined","failed_starts":3,"quarantined_ms":)"));
  EXPECT_FALSE(has(answer, R"("quarantined_ms":null)"));
}

}  // namespace
}  // namespace glowplug::gateway
