// The keys that prompt states are sealed with: one for each tenant, made on first use, in files
// that a master key seals.
//
// The master key is a file of 32 random bytes and mode 0600, made when there is none. A tenant's
// key lies in <folder>/<digest of the tenant's name>.key and is bound to that name. Forgetting a
// tenant removes its key; whatever was sealed with it cannot be opened by anybody from then on. A
// key that its master key does not open (the master key was exchanged, or the file damaged) is as
// good as gone and is replaced at the next use.
//
// Thread: any; one mutex around the keys in memory, not held while a file is read or written.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/result.h"
#include "models/aead.h"

namespace glowplug::models {

class TenantKeys final {
 public:
  static Result<std::unique_ptr<TenantKeys>> open(const std::string& folder,
                                                  const std::string& master_key_file);

  Result<SecretKey> obtain(const std::string& tenant);               // made when there is none
  Result<std::optional<SecretKey>> find(const std::string& tenant);  // empty when there is none
  Result<void> forget(const std::string& tenant);                    // durable once it returns

 private:
  TenantKeys(std::string folder, const SecretKey& master)
      : folder_(std::move(folder)), master_(master) {}

  std::string path_of(const std::string& tenant) const;
  Result<std::optional<SecretKey>> read(const std::string& tenant) const;
  Result<void> make(const std::string& tenant) const;
  // False when a tenant was forgotten since `generation`: what was read may be the forgotten key.
  bool remember(const std::string& tenant, const SecretKey& key, std::uint64_t generation);

  const std::string folder_;
  const SecretKey master_;
  std::mutex mutex_;
  std::map<std::string, SecretKey> known_;
  std::uint64_t generation_ = 0;  // counts forget()
};

}  // namespace glowplug::models
