#include "models/model_store.h"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>

#include <fmt/format.h>

#include "domain/errors.h"
#include "models/catalogue.h"
#include "models/file_fetch.h"
#include "models/gguf_reader.h"
#include "models/http_transfer.h"
#include "models/model_source.h"
#include "models/package_index.h"
#include "models/sha256.h"
#include "models/source_fetch.h"

namespace glowplug::models {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using Facts = Result<domain::ModelFacts>;
constexpr int kHashTries = 3;
constexpr Duration kLockInterval = 50ms;  // between two looks at a lock that another server holds

Error fault(std::string_view code, std::string message) {
  return {std::string(code), std::move(message), "model"};
}

Error cancelled_error() { return fault(domain::error::kSourceUnreachable, kCancelledMessage); }

std::string lower(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c;
  return text;
}

ModelStoreOptions with_defaults(ModelStoreOptions options) {
  const auto fill = [](std::string& value, const char* variable, const char* otherwise) {
    const char* found = std::getenv(variable);
    if (value.empty()) value = found != nullptr && *found != '\0' ? found : otherwise;
  };
  fill(options.hub_url, "HF_ENDPOINT", "https://huggingface.co");
  fill(options.hub_token, "HF_TOKEN", "");
  return options;
}

// Read once: what the environment and pip's configuration say when the store is made.
AddressRule address_rule(const ModelStoreOptions& options) {
  AddressRule rule{options.private_sources_allowed, {}};
  std::vector<std::string> urls = index_urls(options.pip_index_url);
  urls.push_back(options.hub_url);
  for (const std::string& url : urls)
    if (std::string host = host_of(url); !host.empty()) rule.own_hosts.push_back(std::move(host));
  return rule;
}

// One fetch under way; owned by its leader and by everyone who waits for it.
struct Flight {
  std::optional<Facts> result;
  bool leader_left = false;  // cancelled: the next caller leads
  Progress progress;
};

}  // namespace

class ModelStore::Implementation final {
 public:
  explicit Implementation(ModelStoreOptions options)
      : options_(with_defaults(std::move(options))),
        addresses_(address_rule(options_)),
        folder_(options_.cache_dir),
        cache_(folder_, options_.clock != nullptr ? *options_.clock : system_clock_,
               options_.cache_budget_bytes,
               [this](const ModelWish& wish, const std::map<std::string, std::string>& index) {
                 return digest_of(wish, index);
               }) {}

  std::vector<StoredModel> list() const { return folder_.list(); }

  Facts prepare(const std::string& text, const std::string& given_pin, const SourceFetch& fetch) {
    const auto source = parse_source(text);
    if (!source) return source.error();
    const std::string pin = lower(given_pin);
    if (source->kind == SourceKind::File) return prepare_file(*source, pin, fetch);
    if (auto made = folder_.make_folders(); !made) return made.error();
    if (auto held = find_held(source->text, wanted_digest(*source, pin))) return *held;
    return fly(fmt::format("{} {}", text, pin), *source, pin, fetch);
  }

  std::optional<domain::ModelFacts> held(const std::string& text, const std::string& given_pin) {
    const auto source = parse_source(text);
    if (!source) return std::nullopt;
    const std::string pin = lower(given_pin);
    const auto found = source->kind == SourceKind::File
                           ? find_verified_file(*source, pin)
                           : find_held(source->text, wanted_digest(*source, pin));
    return found && *found ? std::optional(**found) : std::nullopt;
  }

  const ModelStoreOptions& options() const { return options_; }
  const AddressRule& addresses() const { return addresses_; }
  const BlobFolder& folder() const { return folder_; }
  ModelCache& cache() { return cache_; }

 private:
  static std::string wanted_digest(const ModelSource& source, const std::string& pin) {
    const CatalogueEntry* entry =
        source.kind == SourceKind::Catalogue ? find_in_catalogue(source.name) : nullptr;
    return pin.empty() && entry != nullptr ? entry->sha256 : pin;
  }

  static Facts read_verified(const std::string& path, const std::string& sha256) {
    auto facts = read_gguf(path);
    if (facts) facts->sha256 = sha256;
    return facts;
  }

  // What a function names, as far as it is known without asking anybody.
  std::string digest_of(const ModelWish& wish,
                        const std::map<std::string, std::string>& index) const {
    const auto source = parse_source(wish.source);
    if (!source) return {};
    if (source->kind == SourceKind::File) {
      std::error_code error;
      return cache_.digest_of_path(fs::canonical(source->name, error).string());
    }
    if (std::string wanted = wanted_digest(*source, lower(wish.sha256_pin)); !wanted.empty())
      return wanted;
    const auto found = index.find(source->text);
    return found == index.end() ? std::string() : found->second;
  }

  // A blob of earlier that is as it was when it was verified: by digest where one is wanted, else
  // by what the source gave last time. It is held from now on.
  std::optional<Facts> find_held(const std::string& source, std::string digest) {
    if (digest.empty()) digest = folder_.remembered(source);
    if (digest.empty()) return std::nullopt;
    const auto path = folder_.find(digest);
    if (!path || !cache_.hold(digest) || !cache_.is_verified(digest, *path)) return std::nullopt;
    return read_verified(*path, digest);
  }

  // The same for one that is not as it was, or was never hashed by us: hashed now. What does not
  // match is moved aside, and the caller fetches it.
  Result<std::optional<Facts>> find_by_hash(const std::string& source, std::string digest,
                                            const SourceFetch& fetch) {
    if (auto held = find_held(source, digest)) return held;
    if (digest.empty()) digest = folder_.remembered(source);
    const auto path = digest.empty() ? std::nullopt : folder_.find(digest);
    if (!path) return std::optional<Facts>();
    auto before = mark_of(*path);
    auto measured = fetch.hash(*path);
    // Another server may have put the same into its place meanwhile.
    for (int tries = 1; tries < kHashTries && before != mark_of(*path); ++tries) {
      before = mark_of(*path);
      measured = fetch.hash(*path);
    }
    if (measured && measured->empty()) return cancelled_error();
    if (measured && *measured == digest && before && before == mark_of(*path)) {
      cache_.verified(digest, *path, *before);
      return find_held(source, digest);
    }
    if (before)
      cache_.quarantine(digest, measured ? "its bytes have the SHA-256 " + *measured
                                         : "it cannot be read: " + measured.error().message);
    return std::optional<Facts>();
  }

  // A file of the user's own that was hashed by this server and is as it was then.
  std::optional<Facts> find_verified_file(const ModelSource& source, const std::string& pin) {
    std::error_code error;
    const std::string path = fs::canonical(source.name, error).string();
    if (error || !cache_.is_verified({}, path)) return std::nullopt;
    const std::string digest = cache_.digest_of_path(path);
    if (!pin.empty() && digest != pin) return std::nullopt;
    return read_verified(path, digest);
  }

  // Hashed in place, and not again while size, time and inode stay.
  Facts prepare_file(const ModelSource& source, const std::string& pin, const SourceFetch& fetch) {
    std::error_code error;
    const std::string path = fs::canonical(source.name, error).string();
    if (error)
      return fault(domain::error::kModelRejected,
                   fmt::format("{} is not a readable file", source.name));
    auto facts = read_gguf(path);  // cheap, and says why long before the hash is done
    if (!facts) return facts;
    const auto mark = mark_of(path);
    if (!mark)
      return fault(domain::error::kModelRejected,
                   fmt::format("{} is not a readable file", source.name));
    std::string digest = cache_.is_verified({}, path) ? cache_.digest_of_path(path) : "";
    if (digest.empty()) {
      const auto hashed = fetch.hash(path);
      if (!hashed) return hashed.error();
      if (hashed->empty()) return cancelled_error();
      digest = *hashed;
      cache_.verified_file(digest, path, *mark);
    }
    if (!pin.empty() && digest != pin)
      return fault(
          domain::error::kChecksumMismatch,
          fmt::format("{} has the SHA-256 {}, but the manifest pins {}", path, digest, pin));
    facts->sha256 = digest;
    return facts;
  }

  Facts fly(const std::string& key, const ModelSource& source, const std::string& pin,
            const SourceFetch& fetch) {
    while (true) {
      bool leading = false;
      const std::shared_ptr<Flight> flight = join(key, leading);  // owners: see Flight
      if (leading) return lead(key, *flight, source, pin, fetch);
      std::unique_lock lock(mutex_);
      while (!flight->result && !flight->leader_left) {
        landed_.wait_for(lock, 100ms);
        const Progress now = flight->progress;
        lock.unlock();
        if (fetch.cancelled()) return cancelled_error();
        if (!now.phase.empty()) fetch.progress(now);
        lock.lock();
      }
      if (flight->result) return *flight->result;
    }
  }

  std::shared_ptr<Flight> join(const std::string& key, bool& leading) {
    const std::lock_guard lock(mutex_);
    auto& flight = flights_[key];
    leading = flight == nullptr;
    if (leading) flight = std::make_shared<Flight>();
    return flight;
  }

  Facts lead(const std::string& key, Flight& flight, const ModelSource& source,
             const std::string& pin, const SourceFetch& fetch) {
    const SourceFetch shared{options_,
                             folder_,
                             addresses_,
                             fetch.make_room,
                             [this, &flight, &fetch](const Progress& now) {
                               {
                                 const std::lock_guard lock(mutex_);
                                 flight.progress = now;
                               }
                               fetch.progress(now);
                             },
                             fetch.cancelled};
    Facts result = cancelled_error();
    try {
      result = fetch_any(source, pin, shared);
    } catch (const std::exception& error) {  // out of memory: the waiters must hear of it too
      result = fault(domain::error::kServerError,
                     fmt::format("preparing {} failed: {}", source.text, error.what()));
    }
    const bool left = !result && fetch.cancelled();
    const std::lock_guard lock(mutex_);
    if (left)
      flight.leader_left = true;
    else
      flight.result = result;
    flights_.erase(key);
    landed_.notify_all();
    return result;
  }

  Facts fetch_any(const ModelSource& source, const std::string& pin, const SourceFetch& fetch) {
    if (source.kind != SourceKind::Catalogue) return fetch_one(source, source.text, pin, fetch);
    const CatalogueEntry& entry = *find_in_catalogue(source.name);
    std::string tried;
    for (const std::string& text : entry.sources) {
      const auto one = parse_catalogue_source(text);
      GLOWPLUG_ASSERT(one.ok());
      Facts facts = fetch_one(*one, source.text, wanted_digest(source, pin), fetch);
      if (facts || fetch.cancelled()) return facts;
      const bool next_may_do = facts.error().code != domain::error::kDiskFull &&
                               facts.error().code != domain::error::kNoCacheSpace &&
                               facts.error().code != domain::error::kStorageFailed;
      if (!next_may_do || entry.sources.size() == 1) return facts;
      tried += fmt::format("{}{}", tried.empty() ? "" : "; ", facts.error().message);
      if (&text == &entry.sources.back())
        return fault(facts.error().code,
                     fmt::format("no source of {} gave the model: {}", entry.name, tried));
    }
    return fault(domain::error::kSourceUnreachable, fmt::format("{} has no source", entry.name));
  }

  Facts fetch_one(const ModelSource& source, const std::string& remembered_as,
                  const std::string& wanted, const SourceFetch& fetch) {
    const auto lock = wait_for_lock(fetch.partial_path(source), fetch);
    if (!lock) return lock.error();
    // The flight before this one, or another server, may have just landed.
    const auto held = find_by_hash(remembered_as, wanted, fetch);
    if (!held) return held.error();
    if (*held) return **held;
    auto fetched = fetch.fetch(source, wanted);
    if (!fetched) {
      // A full disk is worse than fetching again from the start.
      if (fetched.error().code == domain::error::kDiskFull)
        discard_fetched(fetch.partial_path(source));
      return fetched.error();
    }
    const auto checked = read_gguf(fetched->path);
    if (!checked) {
      discard_fetched(fetched->path);
      Error error = checked.error();
      if (const std::size_t at = error.message.find(" cannot be used"); at != std::string::npos)
        error.message = source.text + error.message.substr(at);
      return error;
    }
    const auto path = publish(fetched->path, fetched->sha256, remembered_as);
    if (!path) return path.error();
    return read_verified(*path, fetched->sha256);
  }

  // Several sources may give the same bytes at the same time: the first that are whole stay, so
  // that nobody's file changes under what was verified of it.
  Result<std::string> publish(const std::string& partial, const std::string& sha256,
                              const std::string& source) {
    const std::lock_guard lock(publishing_);
    const auto there = folder_.find(sha256);
    if (there && cache_.hold(sha256) && cache_.is_verified(sha256, *there)) {
      discard_fetched(partial);
      folder_.remember(source, sha256);
      return *there;
    }
    auto path = folder_.publish(partial, sha256, source);
    if (!path) return path;
    if (const auto mark = mark_of(*path)) cache_.verified(sha256, *path, *mark);
    (void)cache_.hold(sha256);
    return path;
  }

  // Another server may fetch into the same partial file, and so may another flight of this one (one
  // pinned, one not). What is reported meanwhile is how far the other one is.
  Result<FileLock> wait_for_lock(const std::string& partial, const SourceFetch& fetch) const {
    while (true) {
      auto lock = folder_.try_lock(partial);
      if (!lock) return lock.error();
      if (*lock) return std::move(**lock);
      std::error_code none_yet;
      const auto bytes = fs::file_size(partial, none_yet);
      fetch.progress({"fetch", none_yet ? 0 : bytes, 0, 0});
      if (!wait_unless_cancelled(kLockInterval, fetch.cancelled)) return cancelled_error();
    }
  }

  const ModelStoreOptions options_;
  const AddressRule addresses_;
  const SystemClock system_clock_;
  BlobFolder folder_;
  ModelCache cache_;
  std::mutex publishing_;
  std::mutex mutex_;  // guards what follows; never held across I/O or a callback
  std::condition_variable landed_;
  std::map<std::string, std::shared_ptr<Flight>> flights_;  // owners: see Flight
};

ModelStore::ModelStore(ModelStoreOptions options)
    : implementation_(std::make_unique<Implementation>(std::move(options))) {}

ModelStore::~ModelStore() = default;

Result<domain::ModelFacts> ModelStore::prepare(const std::string& source,
                                               const std::string& sha256_pin,
                                               const std::function<void(const Progress&)>& progress,
                                               const std::function<bool()>& cancelled) {
  const SourceFetch fetch{
      implementation_->options(),
      implementation_->folder(),
      implementation_->addresses(),
      [this](std::uint64_t bytes) { return implementation_->cache().make_room(bytes); },
      progress ? progress : [](const Progress&) {},
      cancelled ? cancelled : [] { return false; }};
  try {
    return implementation_->prepare(source, sha256_pin, fetch);
  } catch (const std::exception& error) {
    return fault(domain::error::kServerError,
                 fmt::format("preparing {} failed: {}", source, error.what()));
  }
}

std::optional<domain::ModelFacts> ModelStore::held(const std::string& source,
                                                   const std::string& sha256_pin) {
  try {
    return implementation_->held(source, sha256_pin);
  } catch (const std::exception&) {  // out of memory: prepare() says so
    return std::nullopt;
  }
}

std::vector<StoredModel> ModelStore::list() const { return implementation_->list(); }

ModelCache& ModelStore::cache() { return implementation_->cache(); }

}  // namespace glowplug::models
