#include "models/tenant_keys.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "models/test_states.h"

namespace glowplug::models {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

class TenantKeysTest : public ::testing::Test {
 protected:
  std::unique_ptr<TenantKeys> open() {
    auto keys = TenantKeys::open(folder_.path() + "/keys", master_);
    EXPECT_TRUE(keys.ok()) << keys.error().message;
    return std::move(*keys);
  }
  std::string refusal() {
    const auto keys = TenantKeys::open(folder_.path() + "/keys", master_);
    return keys ? "" : keys.error().message;
  }
  std::string key_file() const {
    for (const auto& file : fs::directory_iterator(folder_.path() + "/keys"))
      if (file.path().extension() == ".key") return file.path().string();
    return {};
  }
  static std::string text(const SecretKey& key) { return {key.bytes().begin(), key.bytes().end()}; }
  static std::string obtain(TenantKeys& keys, const std::string& tenant) {
    const auto key = keys.obtain(tenant);
    return key ? text(*key) : "";
  }

  TestFolder folder_;
  std::string master_ = folder_.path() + "/master.key";
};

TEST_F(TenantKeysTest, FirstUse_MakesKeysThatARestartFindsAgain) {
  auto keys = open();
  const std::string ann = obtain(*keys, "ann");
  EXPECT_EQ(ann.size(), 32u);
  EXPECT_NE(ann, obtain(*keys, "bob"));
  EXPECT_EQ(ann, obtain(*keys, "ann"));
  keys = open();
  EXPECT_EQ(ann, obtain(*keys, "ann"));
}

TEST_F(TenantKeysTest, KeysOnDisk_ArePrivateAndWrapped) {
  const std::string ann = obtain(*open(), "ann");
  for (const std::string& path : {master_, key_file()}) {
    struct stat status {};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600u) << path;
    EXPECT_EQ(file_text(path).find(ann), std::string::npos) << path;
  }
  EXPECT_EQ(file_text(master_).size(), 32u);
}

TEST_F(TenantKeysTest, UnknownTenant_HasNoKeyAndGetsNone) {
  auto keys = open();
  const auto found = keys->find("nobody");
  ASSERT_TRUE(found.ok());
  EXPECT_FALSE(found->has_value());
  EXPECT_EQ(key_file(), "");
}

TEST_F(TenantKeysTest, MasterKeyThatOthersMayRead_IsRefusedWithTheFix) {
  open();
  for (const fs::perms mode :
       {fs::perms(0640), fs::perms(0604), fs::perms(0700), fs::perms(0400)}) {
    fs::permissions(master_, mode);
    EXPECT_THAT(refusal(), HasSubstr("chmod 600 " + master_));
  }
  fs::permissions(master_, fs::perms(0600));
  EXPECT_EQ(refusal(), "");
}

TEST_F(TenantKeysTest, MasterKeyOfWrongLength_IsRefusedWithTheFix) {
  open();
  for (const std::size_t bytes : {0u, 31u, 33u}) {
    write_file(master_, std::string(bytes, 'x'));
    EXPECT_THAT(refusal(), HasSubstr("bytes, not 32")) << bytes;
    EXPECT_THAT(refusal(), HasSubstr("put the right one back")) << bytes;
  }
}

TEST_F(TenantKeysTest, MasterKeyThatIsNoPlainFile_IsRefused) {
  fs::create_directory(master_);
  EXPECT_THAT(refusal(), HasSubstr("is no plain file"));
  fs::remove(master_);
  fs::create_symlink(folder_.path() + "/elsewhere", master_);
  EXPECT_THAT(refusal(), HasSubstr("cannot open the master key"));
}

TEST_F(TenantKeysTest, OtherMasterKey_OpensNothingAndNewKeysAreMade) {
  const std::string before = obtain(*open(), "ann");
  write_file(master_, std::string(32, 'x'));
  auto keys = open();
  const auto found = keys->find("ann");
  ASSERT_TRUE(found.ok());
  EXPECT_FALSE(found->has_value());
  const std::string after = obtain(*keys, "ann");
  EXPECT_EQ(after.size(), 32u);
  EXPECT_NE(after, before);
  EXPECT_EQ(obtain(*open(), "ann"), after);
}

TEST_F(TenantKeysTest, KeyFileWithAnyBitFlipped_IsNoKey) {
  obtain(*open(), "ann");
  const std::string path = key_file(), good = file_text(path);
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    write_file(path, bad);
    const auto found = open()->find("ann");
    ASSERT_TRUE(found.ok());
    EXPECT_FALSE(found->has_value()) << i;
  }
  for (const std::size_t bytes : {std::size_t{0}, good.size() - 1, good.size() + 1}) {
    write_file(path, (good + "x").substr(0, bytes));
    EXPECT_FALSE(open()->find("ann")->has_value()) << bytes;
  }
}

TEST_F(TenantKeysTest, KeyFileOfAnotherTenant_IsNoKey) {
  auto keys = open();
  obtain(*keys, "ann");
  const std::string ann = key_file();
  const std::string stolen = file_text(ann);
  fs::remove(ann);
  obtain(*keys, "bob");
  write_file(key_file(), stolen);
  EXPECT_FALSE(open()->find("bob")->has_value());
}

TEST_F(TenantKeysTest, Forgotten_GetsAnotherKey) {
  auto keys = open();
  const std::string before = obtain(*keys, "ann");
  ASSERT_TRUE(keys->forget("ann").ok());
  EXPECT_FALSE(keys->find("ann")->has_value());
  EXPECT_EQ(key_file(), "");
  EXPECT_NE(obtain(*keys, "ann"), before);
  EXPECT_TRUE(keys->forget("nobody").ok());
}

TEST_F(TenantKeysTest, CrashWhileAKeyWasWritten_LeavesNothing) {
  obtain(*open(), "ann");
  write_file(key_file() + ".0123.tmp", "half");
  obtain(*open(), "ann");
  EXPECT_FALSE(fs::exists(key_file() + ".0123.tmp"));
}

TEST_F(TenantKeysTest, ManyThreadsAtFirstUse_AllGetOneKey) {
  auto keys = open();
  std::vector<std::string> got(8);
  std::vector<std::thread> threads;
  for (std::string& mine : got)
    threads.emplace_back([&mine, &keys] { mine = obtain(*keys, "ann"); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(std::count(got.begin(), got.end(), obtain(*open(), "ann")), 8);
}

}  // namespace
}  // namespace glowplug::models
