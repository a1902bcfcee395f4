#include "gateway/memory_metrics.h"

#include <array>
#include <set>
#include <string>
#include <string_view>

#include "fmt/format.h"

namespace glowplug::gateway {
namespace {

enum Kind : std::size_t { kReplica, kTemplate, kSpare, kKinds };

struct Bytes {
  std::uint64_t held = 0, reserved = 0;
  Bytes& operator+=(const Bytes& other) {
    held += other.held;
    reserved += other.reserved;
    return *this;
  }
};
using ByKind = std::array<Bytes, kKinds>;

// The gauges of one kind: by function, and the word of the kind.
struct Names {
  std::string_view held, reserved, of, kind;
};
constexpr std::array<Names, kKinds> kNames{
    Names{"glowplug_memory_bytes", "glowplug_memory_reserved_bytes", "a function's replicas",
          "replica"},
    Names{"glowplug_template_memory_bytes", "glowplug_template_memory_reserved_bytes",
          "the template a function is forked from; others may share it", "template"},
    Names{"glowplug_spare_memory_bytes", "glowplug_spare_memory_reserved_bytes",
          "the spares of that template", "spare"}};

class Count final {
 public:
  Count(const std::vector<control::FunctionView>& functions, const MemoryOf& memory_of)
      : memory_of_(memory_of) {
    for (const control::FunctionView& view : functions) add(view);
  }
  const std::vector<ByKind>& functions() const { return functions_; }
  const ByKind& all() const { return all_; }

 private:
  void add(const control::FunctionView& view) {
    functions_.emplace_back();
    for (const control::ReplicaView& replica : view.replicas)
      add(kReplica, replica.replica, replica.memory_bytes);
    if (!view.template_view) return;
    add(kTemplate, view.template_view->process, view.template_view->memory_bytes);
    for (const control::TemplateView::Spare& spare : view.template_view->spares)
      add(kSpare, spare.process, spare.memory_bytes);
  }
  void add(Kind kind, domain::ProcessId process, std::uint64_t reserved) {
    const std::uint64_t held = memory_of_ ? memory_of_(process) : 0;
    const Bytes bytes{.held = held > 0 ? held : reserved, .reserved = reserved};
    functions_.back()[kind] += bytes;
    if (counted_.insert(process).second) all_[kind] += bytes;
  }

  const MemoryOf& memory_of_;
  std::vector<ByKind> functions_;
  ByKind all_{};
  std::set<domain::ProcessId> counted_;
};

}  // namespace

void write_memory(MetricsText& text, const std::vector<control::FunctionView>& functions,
                  const MemoryOf& memory_of) {
  const Count count(functions, memory_of);
  const auto each = [&](Kind kind, std::string_view name, auto bytes) {
    for (std::size_t i = 0; i < functions.size(); ++i)
      if (kind == kReplica || functions[i].template_view)
        text.sample(name, fmt::format("function=\"{}\"", functions[i].manifest.name),
                    bytes(count.functions()[i][kind]));
  };
  const auto held = [](const Bytes& bytes) { return bytes.held; };
  const auto reserved = [](const Bytes& bytes) { return bytes.reserved; };
  for (const Kind kind : {kReplica, kTemplate, kSpare}) {
    const Names& names = kNames[kind];
    text.family(names.held, "gauge", fmt::format("Memory held by {}; measured.", names.of));
    each(kind, names.held, held);
    text.family(names.reserved, "gauge", fmt::format("Memory reserved for {}.", names.of));
    each(kind, names.reserved, reserved);
  }
  text.family("glowplug_process_memory_bytes", "gauge",
              "Memory held by all processes of a kind, each counted once; measured.");
  for (const Kind kind : {kReplica, kTemplate, kSpare})
    text.sample("glowplug_process_memory_bytes", fmt::format("kind=\"{}\"", kNames[kind].kind),
                count.all()[kind].held);
  text.family("glowplug_process_memory_reserved_bytes", "gauge",
              "Memory reserved for all processes of a kind, each counted once.");
  for (const Kind kind : {kReplica, kTemplate, kSpare})
    text.sample("glowplug_process_memory_reserved_bytes",
                fmt::format("kind=\"{}\"", kNames[kind].kind), count.all()[kind].reserved);
}

}  // namespace glowplug::gateway
