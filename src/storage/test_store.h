// A store in a folder of its own, for tests, and a second way into its database while it is closed.
// Thread: one test.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include <gtest/gtest.h>
#include <sqlite3.h>

#include "storage/function_store.h"
#include "storage/test_root.h"

namespace glowplug::storage {

class StoreTest : public ::testing::Test {
 protected:
  ~StoreTest() override {
    store_.reset();
    std::filesystem::remove_all(root_);
  }

  void open() {
    store_.reset();
    Result<std::unique_ptr<FunctionStore>> opened = FunctionStore::open(data_);
    ASSERT_TRUE(opened) << opened.error().message;
    store_ = std::move(*opened);
  }

  void execute(const std::string& sql) {
    std::filesystem::create_directories(data_);
    sqlite3* database = nullptr;
    ASSERT_EQ(sqlite3_open((data_ + "/glowplug.db").c_str(), &database), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
        << sqlite3_errmsg(database);
    sqlite3_close(database);
  }

  std::string root_ = make_test_root(), data_ = root_ + "/data";
  std::unique_ptr<FunctionStore> store_;
};

}  // namespace glowplug::storage
