#include "worker/stand_in_model.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdio>
#include <fcntl.h>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string_view>
#include <unistd.h>
#include <vector>

#include <sys/mman.h>

#include "base/unique_fd.h"
#include "domain/errors.h"
#include "ggml.h"
#include "gguf.h"

namespace glowplug::worker {
namespace {

using Gguf = std::unique_ptr<gguf_context, decltype(&gguf_free)>;
using Tensors = std::unique_ptr<ggml_context, decltype(&ggml_free)>;
using File = std::unique_ptr<std::FILE, decltype(&std::fclose)>;

Error rejected(std::string message) {
  return Error{std::string(domain::error::kModelRejected), std::move(message), {}};
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

std::optional<ggml_type> type_named(const std::string& name) {
  for (int number = 0; number < GGML_TYPE_COUNT; ++number) {
    const auto type = static_cast<ggml_type>(number);
    const char* known = ggml_type_name(type);
    if (known != nullptr && lower(known) == name && ggml_blck_size(type) > 0) return type;
  }
  return std::nullopt;
}

// The tables of tokens keep their type in files of every type.
bool is_table(std::string_view name) {
  return name == "token_embd.weight" || name == "output.weight";
}

// The type that most bytes of the weights have.
ggml_type main_type(ggml_context* tensors) {
  std::map<ggml_type, std::size_t> bytes;
  for (ggml_tensor* at = ggml_get_first_tensor(tensors); at != nullptr;
       at = ggml_get_next_tensor(tensors, at))
    if (ggml_n_dims(at) > 1 && !is_table(at->name)) bytes[at->type] += ggml_nbytes(at);
  ggml_type most = GGML_TYPE_COUNT;
  std::size_t greatest = 0;
  for (const auto& [type, sum] : bytes) {
    if (sum <= greatest) continue;
    greatest = sum;
    most = type;
  }
  return most;
}

// One row of random weights, as the type holds it.
std::vector<char> random_row(ggml_type type, std::int64_t width, std::mt19937& random) {
  std::normal_distribution<float> normal(0, 0.02F);
  std::vector<float> values(static_cast<std::size_t>(width));
  for (float& value : values) value = normal(random);
  std::vector<char> row(ggml_row_size(type, width));
  ggml_quantize_chunk(type, values.data(), row.data(), 0, 1, width, nullptr);
  return row;
}

bool copy_bytes(int from, std::size_t offset, std::size_t bytes, std::FILE* to) {
  std::vector<char> piece(std::min<std::size_t>(bytes, std::size_t{1} << 20));
  while (bytes > 0) {
    const ssize_t got =
        ::pread(from, piece.data(), std::min(bytes, piece.size()), static_cast<off_t>(offset));
    if (got <= 0) return false;
    const auto count = static_cast<std::size_t>(got);
    if (std::fwrite(piece.data(), 1, count, to) != count) return false;
    offset += count;
    bytes -= count;
  }
  return true;
}

bool pad(std::FILE* to, std::size_t bytes, std::size_t alignment) {
  const std::vector<char> zeroes((alignment - bytes % alignment) % alignment);
  return std::fwrite(zeroes.data(), 1, zeroes.size(), to) == zeroes.size();
}

struct Source {
  Gguf header;
  Tensors tensors;
  UniqueFd file;
};

// The data section, in the order of the header.
bool write_data(const Source& source, const gguf_context* out, ggml_type from, ggml_type type,
                std::FILE* to) {
  std::mt19937 random(1);  // the same file each time
  std::map<std::int64_t, std::vector<char>> rows;
  const std::size_t alignment = gguf_get_alignment(out);
  for (std::int64_t i = 0; i < gguf_get_n_tensors(source.header.get()); ++i) {
    const char* name = gguf_get_tensor_name(source.header.get(), i);
    const ggml_tensor* tensor = ggml_get_tensor(source.tensors.get(), name);
    std::size_t bytes = ggml_nbytes(tensor);
    if (gguf_get_tensor_type(out, i) == tensor->type) {
      const std::size_t offset = gguf_get_data_offset(source.header.get()) +
                                 gguf_get_tensor_offset(source.header.get(), i);
      if (!copy_bytes(source.file.get(), offset, bytes, to)) return false;
    } else {
      GLOWPLUG_ASSERT(tensor->type == from);
      auto& row = rows[tensor->ne[0]];
      if (row.empty()) row = random_row(type, tensor->ne[0], random);
      const std::int64_t count = ggml_nrows(tensor);
      bytes = row.size() * static_cast<std::size_t>(count);
      for (std::int64_t r = 0; r < count; ++r)
        if (std::fwrite(row.data(), 1, row.size(), to) != row.size()) return false;
    }
    if (!pad(to, bytes, alignment)) return false;
  }
  return std::fflush(to) == 0;
}

}  // namespace

Result<std::string> make_stand_in(const std::string& model_path, const std::string& file_type) {
  const auto type = type_named(file_type);
  if (!type || ggml_quantize_requires_imatrix(*type))
    return rejected("no stand-in can be made in the type '" + file_type + "'");
  ggml_context* read = nullptr;
  Gguf header(gguf_init_from_file(model_path.c_str(), {/*.no_alloc =*/true, /*.ctx =*/&read}),
              &gguf_free);
  Source source{std::move(header), Tensors(read, &ggml_free),
                UniqueFd(::open(model_path.c_str(), O_RDONLY | O_CLOEXEC))};
  if (!source.header || !source.file.valid())
    return rejected("the model file " + model_path + " cannot be read");
  const ggml_type from = main_type(source.tensors.get());

  const Gguf out(gguf_init_empty(), &gguf_free);
  gguf_set_kv(out.get(), source.header.get());
  for (std::int64_t i = 0; i < gguf_get_n_tensors(source.header.get()); ++i) {
    const char* name = gguf_get_tensor_name(source.header.get(), i);
    const ggml_tensor* tensor = ggml_get_tensor(source.tensors.get(), name);
    gguf_add_tensor(out.get(), tensor);
    if (tensor->type != from || ggml_n_dims(tensor) < 2 || is_table(name)) continue;
    if (tensor->ne[0] % ggml_blck_size(*type) != 0)
      return rejected("the model has rows of " + std::to_string(tensor->ne[0]) +
                      " weights, which " + file_type + " cannot hold");
    gguf_set_tensor_type(out.get(), name, *type);
  }

  UniqueFd memory(::memfd_create("stand-in", MFD_CLOEXEC));
  const File file(memory.valid() ? ::fdopen(::dup(memory.get()), "wb") : nullptr, &std::fclose);
  if (!file || !gguf_write_to_file_ptr(out.get(), file.get(), /*only_meta=*/true) ||
      !write_data(source, out.get(), from, *type, file.get()))
    return rejected("there is no memory for a stand-in of the model");
  return "/proc/self/fd/" + std::to_string(memory.release());  // open as long as the process is
}

}  // namespace glowplug::worker
