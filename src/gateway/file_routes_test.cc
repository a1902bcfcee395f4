// Uploads over HTTP: what is taken, what is refused at which moment, and what is left of it.
#include <filesystem>

#include <boost/asio/post.hpp>
#include <fmt/format.h>

#include "domain/limits.h"
#include "gateway/test_gateway.h"
#include "queue/file_store.h"
#include "storage/state_file.h"
#include "storage/test_root.h"

namespace glowplug::gateway {
namespace {

class FileRoutes : public GatewayTest {
 protected:
  FileRoutes() {
    auto file = storage::StateFile::open(root_ + "/data");
    EXPECT_TRUE(file) << file.error().message;
    storage::WriteLoop::Parts parts{.file = std::move(*file),
                                    .deliver =
                                        [this](std::vector<std::function<void()>> all) {
                                          for (auto& one : all) asio::post(io_, std::move(one));
                                        },
                                    .halted = [](const Error& error) { FAIL() << error.message; }};
    writes_ = std::make_unique<storage::WriteLoop>(std::move(parts));
    disk_ = std::make_unique<queue::DiskThread>(
        [this](std::function<void()> done) { asio::post(io_, std::move(done)); });
    auto files = queue::FileStore::open({.folder = folder_,
                                         .writes = *writes_,
                                         .disk = *disk_,
                                         .clock = clock_,
                                         .bytes_max = 64 << 20});
    EXPECT_TRUE(files) << files.error().message;
    files_ = std::move(*files);
    gateway_.reset();
    GatewayOptions options;
    options.files = files_.get();
    gateway_ = std::make_unique<Gateway>(io_, std::move(options), platform_, clock_);
    EXPECT_TRUE(gateway_->open().ok());
    connect();
  }
  ~FileRoutes() override {
    client_.reset();
    gateway_.reset();
    settle();
    files_.reset();
    disk_.reset();
    writes_.reset();
    std::filesystem::remove_all(root_);
  }

  static std::string field(const std::string& name, const std::string& value) {
    return "--b\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n";
  }
  static std::string file(const std::string& content) {
    return "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"in.jsonl\"\r\n"
           "Content-Type: application/octet-stream\r\n\r\n" +
           content + "\r\n";
  }
  static std::string head(std::size_t length, const std::string& more = "") {
    return fmt::format(
        "POST /v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; "
        "boundary=b\r\n{}content-length: {}\r\n\r\n",
        more, length);
  }
  static std::string form(const std::string& parts) {
    const std::string body = parts + "--b--\r\n";
    return head(body.size()) + body;
  }
  std::size_t contents() const {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder_))
      count += entry.is_regular_file() ? 1 : 0;
    return count;
  }

  std::string root_ = storage::make_test_root(), folder_ = root_ + "/files";
  std::unique_ptr<storage::WriteLoop> writes_;
  std::unique_ptr<queue::DiskThread> disk_;
  std::unique_ptr<queue::FileStore> files_;
};

TEST_F(FileRoutes, Upload_InEitherOrderIsKeptAndGivenBack) {
  for (const std::string& parts :
       {field("purpose", "batch") + file("{}\n"), file("{}\n") + field("purpose", "batch")}) {
    const std::string answer = talk(form(parts), "}");
    EXPECT_TRUE(has(answer, "200 OK")) << answer;
    EXPECT_TRUE(has(answer, R"("bytes":3)")) << answer;
    EXPECT_TRUE(has(answer, R"("filename":"in.jsonl","purpose":"batch","status":"processed")"));
  }
  const auto all = files_->list();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(*all[0].expires - all[0].created, domain::kFileExpiryMax);
  const std::string content = talk(get("/v1/files/" + all[0].id + "/content"), "\r\n\r\n{}\n");
  EXPECT_TRUE(has(content, "content-length: 3\r\n")) << content;
  const std::string list = talk(get("/v1/files?limit=1&order=asc"), "]}");
  EXPECT_TRUE(has(list, R"("has_more":true)")) << list;
  EXPECT_TRUE(has(list, all[0].id));
  EXPECT_TRUE(
      has(talk("DELETE /v1/files/" + all[0].id + " HTTP/1.1\r\nhost: localhost\r\n\r\n", "}"),
          R"("deleted":true)"));
  EXPECT_TRUE(has(talk(get("/v1/files/" + all[0].id)), "404 Not Found"));
}

TEST_F(FileRoutes, Faults_NameTheField) {
  const std::string purpose = field("purpose", "batch");
  for (const auto& [parts, param] : std::vector<std::pair<std::string, std::string>>{
           {purpose, "file"},
           {file("x"), "purpose"},
           {field("purpose", "nonsense") + file("x"), "purpose"},
           {purpose + file(""), "file"},
           {purpose + field("file", "x"), "file"},
           {purpose + purpose + file("x"), "purpose"},
           {purpose + field("odd", "x") + file("x"), "odd"},
           {purpose + field("expires_after[anchor]", "now") + file("x"), "expires_after[anchor]"},
           {purpose + field("expires_after[anchor]", "created_at") +
                field("expires_after[seconds]", "60") + file("x"),
            "expires_after[seconds]"}}) {
    connect();
    const std::string answer = talk(form(parts));
    EXPECT_TRUE(has(answer, "400 Bad Request")) << parts << answer;
    EXPECT_TRUE(has(answer, "\"param\":\"" + param + "\"")) << parts << answer;
  }
  EXPECT_TRUE(files_->list().empty());
  EXPECT_EQ(contents(), 0U);
}

TEST_F(FileRoutes, DiskThatFails_IsToldWithoutThePathsOfTheServer) {
  ASSERT_TRUE(has(talk(form(field("purpose", "batch") + file("{}\n")), "}"), "200 OK"));
  const std::string content = get("/v1/files/" + files_->list().at(0).id + "/content");
  std::filesystem::remove_all(folder_);
  for (const std::string& request : {form(field("purpose", "batch") + file("x")), content}) {
    connect();
    const std::string answer = talk(request, "}}");
    EXPECT_TRUE(has(answer, "503 Service Unavailable")) << answer;
    EXPECT_TRUE(has(answer, R"("code":"storage_failed")")) << answer;
    EXPECT_TRUE(has(answer, "log says why")) << answer;
    EXPECT_FALSE(has(answer, root_)) << answer;
  }
}

TEST_F(FileRoutes, OtherTypes_AreRefusedUnread) {
  EXPECT_TRUE(has(talk("POST /v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-type: "
                       "application/json\r\ncontent-length: 2\r\n\r\n{}"),
                  "415 Unsupported Media Type"));
  connect();
  EXPECT_TRUE(has(talk(head(10, "origin: https://evil.example\r\nsec-fetch-site: cross-site\r\n")),
                  "403 Forbidden"));
  connect();
  EXPECT_TRUE(has(talk(head(domain::kFileBytesMax * 2)), "413"));
  connect();
  // A form stays refused where no file is taken.
  EXPECT_TRUE(has(talk("POST /v1/batches HTTP/1.1\r\nhost: localhost\r\ncontent-type: "
                       "multipart/form-data; boundary=b\r\ncontent-length: 2\r\n\r\n{}"),
                  "415 Unsupported Media Type"));
}

TEST_F(FileRoutes, Expect100_IsGreetedOnlyWhenTheBodyIsWanted) {
  const std::string body = field("purpose", "batch") + file("{}\n") + "--b--\r\n";
  const std::string greeting = talk(head(body.size(), "expect: 100-continue\r\n"), "\r\n\r\n");
  EXPECT_TRUE(has(greeting, "100 Continue")) << greeting;
  EXPECT_TRUE(has(talk(body, "}"), "200 OK"));
}

TEST_F(FileRoutes, BodyThatEndsEarly_LeavesNothing) {
  const std::string body = field("purpose", "batch") + file(std::string(100'000, 'x'));
  EXPECT_TRUE(has(talk(head(body.size()) + body), "before its last boundary"));
  EXPECT_EQ(contents(), 0U);
  connect();
  client_->send(asio::buffer(head(1'000'000) + body));
  ASSERT_TRUE(run_until([this] { return contents() == 1; }));
  client_->close();
  EXPECT_TRUE(run_until([this] { return contents() == 0; }));
  EXPECT_EQ(files_->bytes(), 0U);
}

TEST_F(FileRoutes, AnotherBodyOverTheLimit_IsStill413) {
  EXPECT_TRUE(has(talk("POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: " +
                       std::to_string(domain::kBodyBytesMax + 1) + "\r\n\r\n"),
                  "HTTP/1.1 413"));
}

}  // namespace
}  // namespace glowplug::gateway
