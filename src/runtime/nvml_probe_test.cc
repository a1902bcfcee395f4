#include "runtime/nvml_probe.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace glowplug::runtime {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kThree =
    "NVIDIA A10G|24146608128|0;Tesla T4|15843721216|1000;NVIDIA H100 80GB HBM3|85520809984|5";

class NvmlProbe : public testing::Test {
 protected:
  NvmlProbe() { gpus(kThree); }
  ~NvmlProbe() override {
    for (const char* name : {"NVML_STAND_IN_GPUS", "NVML_STAND_IN_FAIL", "NVML_STAND_IN_MIG"})
      ::unsetenv(name);
  }
  static void gpus(const std::string& list) { ::setenv("NVML_STAND_IN_GPUS", list.c_str(), 1); }
  static void fail(const std::string& what) { ::setenv("NVML_STAND_IN_FAIL", what.c_str(), 1); }
  static GpuProbe probe(const std::string& sys_root = "/nowhere") {
    return probe_gpus({.library = GLOWPLUG_NVML_STAND_IN, .sys_root = sys_root});
  }
  static std::vector<std::string> names(const GpuProbe& found) {
    std::vector<std::string> list;
    for (const FoundGpu& gpu : found.gpus) list.push_back(gpu.name);
    return list;
  }
};

TEST_F(NvmlProbe, SeveralGpus_AreToldWithTheirMemory) {
  const GpuProbe found = probe();
  EXPECT_TRUE(found.library_found);
  EXPECT_THAT(found.faults, IsEmpty());
  ASSERT_EQ(found.gpus.size(), 3u);
  EXPECT_EQ(found.gpus[1].name, "Tesla T4");
  EXPECT_EQ(found.gpus[1].memory_bytes, 15'843'721'216u);
  EXPECT_EQ(found.gpus[1].used_bytes, 1000u);
  EXPECT_EQ(found.gpus[1].uuid, "GPU-stand-in-1");
  EXPECT_EQ(found.gpus[1].numa_node, std::nullopt);
}

TEST_F(NvmlProbe, AskedTwice_AnswersTwice) {
  EXPECT_EQ(probe().gpus.size(), 3u);
  EXPECT_EQ(probe().gpus.size(), 3u);  // it had been shut down
}

TEST_F(NvmlProbe, NoGpu_IsNoFault) {
  gpus("");
  EXPECT_THAT(probe().gpus, IsEmpty());
  EXPECT_THAT(probe().faults, IsEmpty());
}

TEST_F(NvmlProbe, NoLibrary_NoGpus) {
  const GpuProbe found = probe_gpus({.library = "/nowhere/libnvidia-ml.so.1"});
  EXPECT_FALSE(found.library_found);
  EXPECT_THAT(found.gpus, IsEmpty());
  EXPECT_THAT(found.faults, ElementsAre(HasSubstr("/nowhere/libnvidia-ml.so.1")));
}

TEST_F(NvmlProbe, NoLibraryAtAll_IsAFileThatIsNone) {
  const std::string path = testing::TempDir() + "no_library.so";
  std::ofstream(path) << "text";
  EXPECT_FALSE(probe_gpus({.library = path}).library_found);
  fs::remove(path);
}

TEST_F(NvmlProbe, MissingFunction_IsNamed) {
  const GpuProbe found = probe_gpus({.library = GLOWPLUG_NVML_STAND_IN_OLD});
  EXPECT_TRUE(found.library_found);
  EXPECT_THAT(found.gpus, IsEmpty());
  EXPECT_THAT(found.faults, ElementsAre(HasSubstr("has no nvmlDeviceGetMemoryInfo")));
}

TEST_F(NvmlProbe, InitThatFails_IsToldInTheLibrarysWords) {
  fail("nvmlInit_v2:9");
  EXPECT_THAT(probe().gpus, IsEmpty());
  EXPECT_THAT(probe().faults, ElementsAre("NVML does not begin: Driver Not Loaded (9)"));
  fail("nvmlInit_v2:77");
  EXPECT_THAT(probe().faults, ElementsAre("NVML does not begin: code 77"));
}

TEST_F(NvmlProbe, CountThatFails_IsTold_AndTheLibraryIsShutDown) {
  fail("nvmlDeviceGetCount_v2:15");
  EXPECT_THAT(probe().faults, ElementsAre("NVML does not count the GPUs: GPU is lost (15)"));
  fail("");
  EXPECT_EQ(probe().gpus.size(), 3u);
}

TEST_F(NvmlProbe, GpuThatDoesNotAnswer_IsLeftOut_TheOthersStay) {
  const std::vector<std::pair<std::string, std::string>> calls{
      {"nvmlDeviceGetHandleByIndex_v2", "handle"},
      {"nvmlDeviceGetName", "name"},
      {"nvmlDeviceGetMemoryInfo", "memory"}};
  for (const auto& [call, what] : calls) {
    fail(call + ":15:1");
    const GpuProbe found = probe();
    EXPECT_THAT(names(found), ElementsAre("NVIDIA A10G", "NVIDIA H100 80GB HBM3")) << call;
    EXPECT_THAT(found.faults,
                ElementsAre("GPU 1 is left out: its " + what + " is not told: GPU is lost (15)"));
  }
}

TEST_F(NvmlProbe, WhatIsNotNeeded_MayFail) {
  fail("nvmlDeviceGetUUID:3");
  EXPECT_EQ(probe().gpus.size(), 3u);
  EXPECT_EQ(probe().gpus[0].uuid, "");
  fail("nvmlDeviceGetPciInfo_v3:3");
  EXPECT_EQ(probe().gpus.size(), 3u);
}

TEST_F(NvmlProbe, NumaNode_IsReadOfItsPciDevice) {
  const fs::path root = testing::TempDir() + "nvml_sys";
  const auto put = [&root](const std::string& device, const std::string& text) {
    const fs::path folder = root / "bus/pci/devices" / device;
    fs::create_directories(folder);
    std::ofstream(folder / "numa_node") << text;
  };
  put("0000:3b:00.0", "1\n");
  put("0000:3c:00.0", "-1\n");
  put("0000:3d:00.0", "what\n");
  const GpuProbe found = probe(root.string());
  EXPECT_EQ(found.gpus.at(0).numa_node, 1);
  EXPECT_EQ(found.gpus.at(1).numa_node, std::nullopt);
  EXPECT_EQ(found.gpus.at(2).numa_node, std::nullopt);
  fs::remove_all(root);
}

TEST_F(NvmlProbe, DividedGpu_IsLeftOutAndSaysWhatToDo) {
  ::setenv("NVML_STAND_IN_MIG", "2", 1);
  const GpuProbe found = probe();
  EXPECT_EQ(found.gpus.size(), 2u);
  EXPECT_THAT(found.faults, ElementsAre(HasSubstr("MIG mode; declare its instances")));
}

TEST_F(NvmlProbe, OddNames_BecomePrintable_AndATypeThatManifestsCanName) {
  gpus("NVIDIA \\x01\\xffT4\\x22|100|0;" + std::string(95, 'x') + "|100|0;|100|0");
  const GpuProbe found = probe();
  EXPECT_THAT(found.faults, ElementsAre(HasSubstr("GPU 1 is left out")));  // longer than NVML's
  ASSERT_THAT(names(found), ElementsAre("NVIDIA ??T4\"", ""));
  EXPECT_EQ(gpu_type(found.gpus[0].name), "T4");
  EXPECT_EQ(gpu_type(found.gpus[1].name), "GPU");
}

TEST(GpuType, IsShort) {
  const std::vector<std::pair<std::string, std::string>> table{
      {"Tesla T4", "T4"},
      {"NVIDIA A10G", "A10G"},
      {"NVIDIA A100-SXM4-40GB", "A100"},
      {"NVIDIA A100 80GB PCIe", "A100"},
      {"NVIDIA H100 80GB HBM3", "H100"},
      {"NVIDIA GeForce RTX 4090", "RTX-4090"},
      {"NVIDIA RTX A6000", "RTX-A6000"},
      {"NVIDIA L4", "L4"},
      {"NVIDIA TITAN V", "TITAN-V"},
      {"", "GPU"},
      {"NVIDIA", "GPU"},
      {"CPU", "GPU"},
      {"\xf0\x9f\x94\xa5", "GPU"},
      {std::string(90, 'y'), std::string(32, 'y')}};
  for (const auto& [name, type] : table) EXPECT_EQ(gpu_type(name), type) << name;
}

TEST_F(NvmlProbe, Devices_HaveWhatOthersDoNotHold) {
  const auto fleet = domain::each_alone(to_devices(probe().gpus));
  ASSERT_EQ(fleet.size(), 3u);
  EXPECT_EQ(fleet[1].name, "T4:0");
  EXPECT_EQ(fleet[1].memory_bytes, 15'843'720'216u);
  EXPECT_EQ(fleet[1].origin, domain::DeviceOrigin::Found);
  EXPECT_EQ(fleet[2].uuid, "GPU-stand-in-2");
}

}  // namespace
}  // namespace glowplug::runtime
