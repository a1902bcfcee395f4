#include "worker/fake_faults.h"

#include <cstdlib>

#include "worker/escape_probe.h"
#include "worker/fake_answer.h"

namespace glowplug::worker {

void strike_request(const FakeOptions& fake, const boost::json::object& request) {
  if (fake.fault != FakeFault::kCrashOnPrompt) return;
  if (prompt_text(request).find(fake.fault_text) != std::string::npos) std::abort();
}

void strike_token(const FakeOptions& fake, int emitted) {
  if (fake.fault == FakeFault::kCrashAfterTokens && emitted >= fake.fault_tokens) std::abort();
  if (fake.fault == FakeFault::kHoldMegabytes) hold_memory(fake.fault_tokens);
  if (fake.fault == FakeFault::kEscape && emitted == 0) try_escape(fake.fault_text);
}

}  // namespace glowplug::worker
