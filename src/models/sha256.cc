#include "models/sha256.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <vector>

#include <fmt/format.h>
#include <openssl/evp.h>

#include "base/unique_fd.h"
#include "domain/errors.h"

namespace glowplug::models {

struct Sha256::Context {
  EVP_MD_CTX* handle = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(handle); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  const int started = EVP_DigestInit_ex(context_->handle, EVP_sha256(), nullptr);
  GLOWPLUG_ASSERT(started == 1);
}

Sha256::~Sha256() = default;

void Sha256::add(const void* data, std::size_t bytes) {
  const int added = EVP_DigestUpdate(context_->handle, data, bytes);
  GLOWPLUG_ASSERT(added == 1);
}

std::string Sha256::hex() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  const int ended = EVP_DigestFinal_ex(context_->handle, digest, &size);
  GLOWPLUG_ASSERT(ended == 1);
  std::string text;
  for (unsigned int i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

std::string sha256_hex(std::string_view text) {
  Sha256 hasher;
  hasher.add(text.data(), text.size());
  return hasher.hex();
}

Result<std::string> sha256_file(const std::string& path,
                                const std::function<bool(std::uint64_t)>& step) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::vector<char> buffer(1 << 20);
  Sha256 hasher;
  std::uint64_t done = 0;
  while (true) {
    const ssize_t n = fd.valid() ? ::read(fd.get(), buffer.data(), buffer.size()) : -1;
    if (n < 0 && fd.valid() && errno == EINTR) continue;
    if (n < 0)
      return Error{std::string(domain::error::kModelRejected),
                   fmt::format("cannot read {}: {}", path, std::strerror(errno)), "model"};
    if (n == 0) return hasher.hex();
    hasher.add(buffer.data(), static_cast<std::size_t>(n));
    done += static_cast<std::uint64_t>(n);
    if (!step(done)) return std::string();
  }
}

}  // namespace glowplug::models
