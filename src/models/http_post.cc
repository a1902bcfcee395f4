#include "models/http_post.h"

#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include <curl/curl.h>
#include <fmt/format.h>

#include "models/curl_handles.h"

namespace glowplug::models {
namespace {

constexpr int kPollMs = 1000;  // a post wakes it earlier
constexpr long kHeaderBytesMax = 64 * 1024;

struct Transfer {
  PostRequest request;
  std::function<void(PostReply)> done;
  std::size_t bytes_max = 0;
  std::atomic<std::uint64_t>* read_together = nullptr;
  CurlHandle easy;
  CurlList headers, resolve;
  SocketGuard guard;
  std::size_t header_bytes = 0;
  std::size_t body_bytes = 0;
};

std::size_t on_header(char*, std::size_t size, std::size_t count, void* context) {
  auto& transfer = *static_cast<Transfer*>(context);
  transfer.header_bytes += size * count;
  return transfer.header_bytes > kHeaderBytesMax ? 0 : size * count;
}

// Nobody wants the body; it is read so far that a receiver that writes a short one is not cut off.
std::size_t on_body(char*, std::size_t size, std::size_t count, void* context) {
  auto& transfer = *static_cast<Transfer*>(context);
  transfer.body_bytes += size * count;
  *transfer.read_together += size * count;
  return transfer.body_bytes > transfer.bytes_max ? 0 : size * count;
}

void set_options(Transfer& transfer, const CurlHttpPost::Options& options) {
  CURL* easy = transfer.easy.get();
  curl_easy_setopt(easy, CURLOPT_URL, transfer.request.url.c_str());
  curl_easy_setopt(easy, CURLOPT_POST, 1L);
  curl_easy_setopt(easy, CURLOPT_POSTFIELDS, transfer.request.body.data());
  curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                   static_cast<curl_off_t>(transfer.request.body.size()));
  for (const std::string& line : transfer.request.headers) append_line(transfer.headers, line);
  append_line(transfer.headers, "Expect:");  // an extra round, and nothing that is large
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer.headers.get());
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "glowplug");
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_PROXY, "");  // "": none, also not $https_proxy
  curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
  curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
  curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, 0L);
  curl_easy_setopt(
      easy, CURLOPT_TIMEOUT_MS,
      static_cast<long>(
          std::chrono::duration_cast<std::chrono::milliseconds>(options.timeout).count()));
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
  for (const std::string& line : options.resolve) append_line(transfer.resolve, line);
  curl_easy_setopt(easy, CURLOPT_RESOLVE, transfer.resolve.get());
  if (const char* bundle = std::getenv("SSL_CERT_FILE"))
    curl_easy_setopt(easy, CURLOPT_CAINFO, bundle);
}

// A status that has come counts, whatever became of the body behind it.
PostReply reply_of(const Transfer& transfer, CURLcode code) {
  PostReply reply;
  long status = 0;
  curl_easy_getinfo(transfer.easy.get(), CURLINFO_RESPONSE_CODE, &status);
  reply.status = static_cast<int>(status);
  if (status != 0) {
    curl_off_t seconds = 0;
    curl_easy_getinfo(transfer.easy.get(), CURLINFO_RETRY_AFTER, &seconds);
    if (seconds > 0) reply.retry_after = std::chrono::seconds(seconds);
    return reply;
  }
  if (!transfer.guard.may_connect && !transfer.guard.forbidden.empty())
    reply.failure = fmt::format("it leads to the {}, which this server sends nothing to",
                                transfer.guard.forbidden);
  else
    reply.failure = code == CURLE_OK ? "there was no status in the answer"
                                     : std::string(curl_easy_strerror(code));
  return reply;
}

}  // namespace

struct CurlHttpPost::State {
  explicit State(Options given) : options(std::move(given)), multi(curl_multi_init()) {}

  void run() {
    while (true) {
      {
        const std::lock_guard lock(mutex);
        if (stopping) break;
        for (std::unique_ptr<Transfer>& one : std::exchange(waiting, {})) begin(std::move(one));
      }
      int running = 0;
      curl_multi_perform(multi.get(), &running);
      finish_done();
      curl_multi_poll(multi.get(), nullptr, 0, kPollMs, nullptr);
    }
    for (const auto& [easy, transfer] : under_way) curl_multi_remove_handle(multi.get(), easy);
    under_way.clear();
  }

  void begin(std::unique_ptr<Transfer> transfer) {
    const Result<Target> target = options.rule.check(transfer->request.url);
    if (!target)
      return end(*transfer, {.status = 0, .retry_after = {}, .failure = target.error().message});
    transfer->easy.reset(curl_easy_init());
    transfer->guard.refuses = [this, target = *target](std::span<const std::uint8_t> address) {
      return options.rule.refuses(target, address);
    };
    set_options(*transfer, options);
    guard_sockets(transfer->easy.get(), transfer->guard);
    CURL* easy = transfer->easy.get();
    under_way[easy] = std::move(transfer);
    curl_multi_add_handle(multi.get(), easy);
  }

  void finish_done() {
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi.get(), &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      CURL* easy = message->easy_handle;
      const CURLcode code = message->data.result;
      curl_multi_remove_handle(multi.get(), easy);
      auto found = under_way.extract(easy);
      end(*found.mapped(), reply_of(*found.mapped(), code));
    }
  }

  void end(Transfer& transfer, PostReply reply) {
    options.deliver([done = std::move(transfer.done), reply = std::move(reply)]() mutable {
      done(std::move(reply));
    });
  }

  const Options options;
  CurlMulti multi;
  std::map<CURL*, std::unique_ptr<Transfer>> under_way;  // of the thread alone
  std::atomic<std::uint64_t> bytes_read = 0;
  std::mutex mutex;  // of the two below
  std::vector<std::unique_ptr<Transfer>> waiting;
  bool stopping = false;
  std::thread thread;
};

CurlHttpPost::CurlHttpPost(Options options) {
  start_curl();
  state_ = std::make_unique<State>(std::move(options));
  state_->thread = std::thread([this] { state_->run(); });
}

CurlHttpPost::~CurlHttpPost() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  curl_multi_wakeup(state_->multi.get());
  state_->thread.join();
}

void CurlHttpPost::post(PostRequest request, std::function<void(PostReply)> done) {
  auto transfer = std::make_unique<Transfer>();
  transfer->request = std::move(request);
  transfer->done = std::move(done);
  transfer->bytes_max = state_->options.reply_bytes_max;
  transfer->read_together = &state_->bytes_read;
  {
    const std::lock_guard lock(state_->mutex);
    state_->waiting.push_back(std::move(transfer));
  }
  curl_multi_wakeup(state_->multi.get());
}

std::uint64_t CurlHttpPost::bytes_read() const { return state_->bytes_read; }

}  // namespace glowplug::models
