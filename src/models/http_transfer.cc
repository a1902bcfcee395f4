#include "models/http_transfer.h"

#include <algorithm>
#include <cstdlib>

#include <curl/curl.h>
#include <fmt/format.h>

#include "models/address_check.h"
#include "models/curl_handles.h"
#include "models/model_source.h"

namespace glowplug::models {
namespace {

constexpr int kRedirectsMax = 5;
constexpr std::size_t kHeaderBytesMax = 256 * 1024;
constexpr long kConnectTimeoutSeconds = 20;
constexpr long kSlowBytesPerSecond = 1024;
constexpr long kSlowSeconds = 30;

struct Hop {
  const HttpSink& sink;
  HttpReply& reply;
  bool public_only = true;
  SocketGuard guard = {};
  std::size_t header_bytes = 0;
  bool begun = false;
  bool sink_failed = false;
  bool stopped = false;
};

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

std::size_t on_header(char* data, std::size_t size, std::size_t count, void* context) {
  auto& hop = *static_cast<Hop*>(context);
  const std::string_view line(data, size * count);
  hop.header_bytes += line.size();
  if (hop.header_bytes > kHeaderBytesMax) return 0;
  if (line.starts_with("HTTP/")) {  // a new head: an interim 1xx answer came before
    hop.reply.headers.clear();
    const std::size_t space = line.find(' ');
    hop.reply.status =
        space == std::string_view::npos ? 0 : std::atoi(std::string(line.substr(space)).c_str());
  } else if (const std::size_t colon = line.find(':'); colon != std::string_view::npos) {
    std::string name(line.substr(0, colon));
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    std::string_view value = line.substr(colon + 1);
    while (!value.empty() && std::isspace(static_cast<unsigned char>(value.front())))
      value.remove_prefix(1);
    while (!value.empty() && std::isspace(static_cast<unsigned char>(value.back())))
      value.remove_suffix(1);
    hop.reply.headers[name] = std::string(value);
  }
  return size * count;
}

bool begin(Hop& hop) {
  if (hop.begun) return true;
  hop.begun = true;
  if (hop.sink.begin && !hop.sink.begin(hop.reply)) hop.sink_failed = true;
  return !hop.sink_failed;
}

std::size_t on_body(char* data, std::size_t size, std::size_t count, void* context) {
  auto& hop = *static_cast<Hop*>(context);
  if (is_redirect(hop.reply.status)) return size * count;
  if (!begin(hop)) return 0;
  if (hop.sink.write && !hop.sink.write(data, size * count)) {
    hop.sink_failed = true;
    return 0;
  }
  return size * count;
}

int on_progress(void* context, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto& hop = *static_cast<Hop*>(context);
  if (hop.sink.step && !hop.sink.step()) hop.stopped = true;
  return hop.stopped ? 1 : 0;
}

bool environment_names_a_proxy() {
  for (const char* name : {"https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY"}) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') return true;
  }
  return false;
}

CurlList header_list(const HttpRequest& request, bool with_token) {
  CurlList list;
  for (const std::string& line : request.headers) append_line(list, line);
  if (with_token && !request.bearer_token.empty())
    append_line(list, "Authorization: Bearer " + request.bearer_token);
  return list;
}

void set_options(CURL* curl, const HttpRequest& request, const std::string& url, Hop& hop) {
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_NOBODY, request.method == HttpMethod::Head ? 1L : 0L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "glowplug");
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, kConnectTimeoutSeconds);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, kSlowBytesPerSecond);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, kSlowSeconds);
  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 256L * 1024);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &hop);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &hop);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &hop);
  if (hop.public_only)
    hop.guard.refuses = [](auto address) { return std::string(not_public_because(address)); };
  guard_sockets(curl, hop.guard);
  if (hop.public_only)
    curl_easy_setopt(curl, CURLOPT_PROXY, "");  // "": none, also not $https_proxy
  if (const char* bundle = std::getenv("SSL_CERT_FILE"))
    curl_easy_setopt(curl, CURLOPT_CAINFO, bundle);
}

// The multi interface bounds every wait to 100 ms; a single easy call polls its progress once a
// second only.
CURLcode perform(CURL* easy, Hop& hop) {
  const CurlMulti multi(curl_multi_init());
  curl_multi_add_handle(multi.get(), easy);
  CURLcode code = CURLE_OK;
  int running = 1;
  while (running > 0) {
    if (curl_multi_perform(multi.get(), &running) != CURLM_OK) {
      code = CURLE_FAILED_INIT;
      break;
    }
    if (running > 0) curl_multi_poll(multi.get(), nullptr, 0, 100, nullptr);
    if (hop.sink.step && !hop.sink.step()) {
      hop.stopped = true;
      code = CURLE_ABORTED_BY_CALLBACK;
      break;
    }
  }
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi.get(), &left))
    if (message->msg == CURLMSG_DONE && code == CURLE_OK) code = message->data.result;
  curl_multi_remove_handle(multi.get(), easy);
  return code;
}

bool is_public_only(const AddressRule& rule, const std::string& url) {
  const std::string host = host_of(url);
  const bool own =
      std::find(rule.own_hosts.begin(), rule.own_hosts.end(), host) != rule.own_hosts.end();
  return !rule.private_allowed && (host.empty() || !own);
}

// Fills in why the hop gave no complete answer.
void explain(HttpReply& reply, const Hop& hop, const std::string& url, CURLcode code) {
  if (hop.stopped || hop.sink_failed) {
    reply.outcome = hop.stopped ? HttpOutcome::Stopped : HttpOutcome::SinkFailed;
    return;
  }
  if (!hop.guard.may_connect && !hop.guard.forbidden.empty()) {
    reply.outcome = HttpOutcome::Forbidden;
    reply.reason = fmt::format(
        "{} leads to the {}, and this server fetches models from public addresses only; start it "
        "with --allow-private-sources, or name a mirror of your own in HF_ENDPOINT or "
        "PIP_INDEX_URL",
        host_of(url), hop.guard.forbidden);
    return;
  }
  reply.outcome = HttpOutcome::Unreachable;
  reply.reason = curl_easy_strerror(code);
  if (hop.public_only && environment_names_a_proxy())
    reply.reason +=
        " (without the proxy of the environment, which only a server with "
        "--allow-private-sources uses)";
}

}  // namespace

std::string resolve_url(const std::string& base, const std::string& reference) {
  const CurlUrl url(curl_url());
  if (curl_url_set(url.get(), CURLUPART_URL, base.c_str(), 0) != CURLUE_OK) return {};
  if (curl_url_set(url.get(), CURLUPART_URL, reference.c_str(), 0) != CURLUE_OK) return {};
  return url_part(url, CURLUPART_URL);
}

std::string host_of(const std::string& address) {
  const CurlUrl url(curl_url());
  if (curl_url_set(url.get(), CURLUPART_URL, address.c_str(), 0) != CURLUE_OK) return {};
  return fmt::format("{}://{}:{}", url_part(url, CURLUPART_SCHEME), url_part(url, CURLUPART_HOST),
                     url_part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT));
}

std::string without_secrets(const std::string& address) {
  const CurlUrl url(curl_url());
  if (curl_url_set(url.get(), CURLUPART_URL, address.c_str(), 0) != CURLUE_OK)
    return "(unreadable address)";
  curl_url_set(url.get(), CURLUPART_USER, nullptr, 0);
  curl_url_set(url.get(), CURLUPART_PASSWORD, nullptr, 0);
  curl_url_set(url.get(), CURLUPART_QUERY, nullptr, 0);
  return url_part(url, CURLUPART_URL);
}

HttpReply http_exchange(const HttpRequest& request, const HttpSink& sink) {
  start_curl();
  HttpReply reply;
  std::string url = request.url;
  const std::string token_host = host_of(request.url);
  for (int hop_number = 0; hop_number <= kRedirectsMax; ++hop_number) {
    if (!is_fetchable_url(url)) {
      reply.outcome = HttpOutcome::Refused;
      reply.reason = fmt::format("{} is neither https nor on this machine", without_secrets(url));
      return reply;
    }
    const CurlHandle curl(curl_easy_init());
    Hop hop{.sink = sink, .reply = reply, .public_only = is_public_only(request.addresses, url)};
    reply.headers.clear();
    const CurlList headers = header_list(request, host_of(url) == token_host);
    set_options(curl.get(), request, url, hop);
    curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
    const CURLcode code = perform(curl.get(), hop);
    if (hop_number == 0) reply.first_headers = reply.headers;
    if (hop.stopped || hop.sink_failed || code != CURLE_OK) {
      explain(reply, hop, url, code);
      return reply;
    }
    if (!is_redirect(reply.status)) {
      reply.outcome = begin(hop) ? HttpOutcome::Answered : HttpOutcome::SinkFailed;
      return reply;
    }
    url = resolve_url(url, reply.headers["location"]);
  }
  reply.outcome = HttpOutcome::Refused;
  reply.reason = fmt::format("more than {} redirects", kRedirectsMax);
  return reply;
}

}  // namespace glowplug::models
