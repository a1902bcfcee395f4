#include "models/aead.h"

#include <algorithm>
#include <string>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include "base/result.h"

namespace glowplug::models {
namespace {

// OpenSSL counts in int.
constexpr std::size_t kStepMax = std::size_t{1} << 30;

EVP_CIPHER_CTX* evp(void* context) { return static_cast<EVP_CIPHER_CTX*>(context); }

int update(EVP_CIPHER_CTX* context, AeadUse use, std::uint8_t* out, const std::uint8_t* in,
           std::size_t bytes) {
  int written = 0;
  const int size = static_cast<int>(bytes);
  return use == AeadUse::Seal ? EVP_EncryptUpdate(context, out, &written, in, size)
                              : EVP_DecryptUpdate(context, out, &written, in, size);
}

}  // namespace

SecretKey::~SecretKey() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

SecretKey SecretKey::random() {
  SecretKey key;
  fill_random(key.bytes_);
  return key;
}

void fill_random(std::span<std::uint8_t> bytes) {
  const int filled = RAND_bytes(bytes.data(), static_cast<int>(bytes.size()));
  GLOWPLUG_ASSERT(filled == 1);  // without randomness no secret may be made
}

SecretKey derive_key(const SecretKey& parent, std::string_view context) {
  std::string digest = "SHA256";
  std::string info(context);
  SecretKey secret = parent;
  SecretKey derived;
  int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
  const OSSL_PARAM settings[] = {
      OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest.data(), 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, secret.bytes().data(),
                                        SecretKey::kBytes),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info.data(), info.size()),
      OSSL_PARAM_construct_end()};
  EVP_KDF* method = EVP_KDF_fetch(nullptr, "HKDF", nullptr);
  EVP_KDF_CTX* running = EVP_KDF_CTX_new(method);
  const int made = EVP_KDF_derive(running, derived.bytes().data(), SecretKey::kBytes, settings);
  EVP_KDF_CTX_free(running);
  EVP_KDF_free(method);
  GLOWPLUG_ASSERT(made == 1);
  return derived;
}

AeadStream::AeadStream(AeadUse use, const SecretKey& key, const AeadNonce& nonce)
    : context_(EVP_CIPHER_CTX_new()), use_(use) {
  // A nonce of 12 bytes is what GCM has by default.
  const int ready = EVP_CipherInit_ex(evp(context_), EVP_aes_256_gcm(), nullptr, key.bytes().data(),
                                      nonce.data(), use == AeadUse::Seal ? 1 : 0);
  GLOWPLUG_ASSERT(ready == 1);
}

AeadStream::~AeadStream() { EVP_CIPHER_CTX_free(evp(context_)); }

void AeadStream::add_context(std::string_view bytes) {
  const int added = update(evp(context_), use_, nullptr,
                           reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  GLOWPLUG_ASSERT(added == 1);
}

void AeadStream::apply(std::span<std::uint8_t> bytes) {
  while (!bytes.empty()) {
    const std::size_t step = std::min(bytes.size(), kStepMax);
    const int done = update(evp(context_), use_, bytes.data(), bytes.data(), step);
    GLOWPLUG_ASSERT(done == 1);
    bytes = bytes.subspan(step);
  }
}

AeadTag AeadStream::tag() {
  GLOWPLUG_ASSERT(use_ == AeadUse::Seal);
  AeadTag tag;
  int none = 0;
  const int ended = EVP_EncryptFinal_ex(evp(context_), tag.data(), &none);
  GLOWPLUG_ASSERT(ended == 1);
  const int read = EVP_CIPHER_CTX_ctrl(evp(context_), EVP_CTRL_GCM_GET_TAG,
                                       static_cast<int>(tag.size()), tag.data());
  GLOWPLUG_ASSERT(read == 1);
  return tag;
}

bool AeadStream::authentic(const AeadTag& tag) {
  GLOWPLUG_ASSERT(use_ == AeadUse::Open);
  AeadTag expected = tag;
  const int set = EVP_CIPHER_CTX_ctrl(evp(context_), EVP_CTRL_GCM_SET_TAG,
                                      static_cast<int>(expected.size()), expected.data());
  GLOWPLUG_ASSERT(set == 1);
  int none = 0;
  std::uint8_t nothing = 0;
  return EVP_DecryptFinal_ex(evp(context_), &nothing, &none) == 1;
}

}  // namespace glowplug::models
