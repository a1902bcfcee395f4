// Fetches the tested catalogue entries from where they really are. Needs GLOWPLUG_NETWORK_TESTS=1.
#include <cstdlib>
#include <filesystem>

#include <gtest/gtest.h>

#include "models/catalogue.h"
#include "models/model_store.h"

namespace glowplug::models {
namespace {

TEST(Network, TestedCatalogueEntries_AreFetchedAndVerified) {
  if (std::getenv("GLOWPLUG_NETWORK_TESTS") == nullptr)
    GTEST_SKIP() << "set GLOWPLUG_NETWORK_TESTS=1";
  std::string folder = ::testing::TempDir() + "glowplug-network-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  {
    // Allowed, because some networks answer public names with addresses of a relay of their own.
    ModelStore store({.cache_dir = folder, .private_sources_allowed = true});
    for (const CatalogueEntry& entry : catalogue()) {
      if (!entry.verified) continue;
      const auto facts = store.prepare(entry.name, "", {}, {});
      ASSERT_TRUE(facts.ok()) << facts.error().message;
      EXPECT_EQ(facts->sha256, entry.sha256);
      EXPECT_EQ(facts->file_bytes, entry.bytes);
      EXPECT_EQ(facts->context_trained, entry.context);
    }
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace glowplug::models
