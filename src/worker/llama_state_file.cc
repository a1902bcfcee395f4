#include "worker/llama_state_file.h"

#include <cstring>
#include <span>
#include <stdexcept>

#include "ggml-backend.h"
#include "llama-kv-cache.h"
#include "llama-kv-cells.h"

namespace glowplug::worker {
namespace {

[[noreturn]] void fail_on_format() {
  throw std::runtime_error("the engine writes its state in another format");
}

// What the engine writes of one cache, in parts: bytes, or some of a tensor.
class Parts final : public llama_io_write_i {
 public:
  struct Part {
    ggml_tensor* tensor = nullptr;
    std::size_t at = 0, size = 0;  // of its bytes
  };

  void write(const void* bytes, std::size_t size) override {
    const auto* from = static_cast<const std::uint8_t*>(bytes);
    parts_.push_back({nullptr, bytes_.size(), size});
    bytes_.insert(bytes_.end(), from, from + size);
  }
  void write_tensor(ggml_tensor* tensor, std::size_t, std::size_t) override {
    if (parts_.empty() || parts_.back().tensor != tensor) parts_.push_back({tensor});
  }
  std::size_t n_bytes() override { return bytes_.size(); }

  std::size_t left() const { return parts_.size() - next_; }
  void skip(std::size_t count) {
    if (left() < count) fail_on_format();
    next_ += count;
  }
  const Part& next() {
    skip(1);
    return parts_[next_ - 1];
  }
  std::span<const std::uint8_t> bytes(const Part& part) const {
    return std::span(bytes_).subspan(part.at, part.size);
  }
  template <typename Number>
  Number number(const Part& part) const {
    if (part.tensor != nullptr || part.size != sizeof(Number)) fail_on_format();
    Number value;
    std::memcpy(&value, bytes(part).data(), sizeof value);
    return value;
  }

 private:
  std::vector<Part> parts_;
  std::vector<std::uint8_t> bytes_;
  std::size_t next_ = 0;
};

struct Range {
  std::size_t first = 0, count = 0;
};

// A slot's cells in a cache.
struct Cells {
  const llama_kv_cells& all;
  std::vector<Range> ranges = {};
  std::uint32_t count = 0;
};

Cells cells_of(const llama_kv_cache& cache, llama_seq_id slot) {
  Cells cells{cache.get_cells(slot)};
  for (std::uint32_t i = 0; i < cells.all.size(); ++i) {
    if (cells.all.is_empty(i) || !cells.all.seq_has(i, slot)) continue;
    const bool goes_on =
        !cells.ranges.empty() && cells.ranges.back().first + cells.ranges.back().count == i;
    if (!goes_on) cells.ranges.push_back({i, 0});
    ++cells.ranges.back().count;
    ++cells.count;
  }
  return cells;
}

void write_places(StateFile& out, const Cells& cells, llama_seq_id slot, bool extended) {
  for (const Range& range : cells.ranges) {
    for (std::size_t i = range.first; i < range.first + range.count; ++i) {
      const auto cell = static_cast<std::uint32_t>(i);
      out.number(cells.all.pos_get(cell));
      out.number(std::uint32_t{1});  // of one sequence
      if (extended) out.number(cells.all.ext_get(cell));
      out.number(slot);
    }
  }
}

// Two numbers stand before a tensor whose rows are cells: its type and the bytes of a row. Three
// stand before one whose columns are: its type, the bytes of a value, the count of rows.
void write_tensor(StateFile& out, const Parts& parts, const std::vector<Parts::Part>& head,
                  ggml_tensor* tensor, const Cells& cells) {
  const bool columns = head.size() == 3;
  if (!columns && head.size() != 2) fail_on_format();
  const std::size_t cell =
      columns ? parts.number<std::uint32_t>(head[1]) : parts.number<std::uint64_t>(head[1]);
  const std::size_t rows = columns ? parts.number<std::uint32_t>(head[2]) : 1;
  for (std::size_t row = 0; row < rows; ++row)
    for (const Range& range : cells.ranges)
      out.write_tensor(tensor, (row * cells.all.size() + range.first) * cell, range.count * cell);
}

void copy_number(StateFile& out, Parts& parts) {
  out.number(parts.number<std::uint32_t>(parts.next()));
}

// Their places, whether V stands in columns, the count of layers, and these.
void write_stream(StateFile& out, Parts& parts, const Cells& cells, std::size_t after) {
  copy_number(out, parts);
  copy_number(out, parts);
  std::vector<Parts::Part> head;
  while (parts.left() > after) {
    const Parts::Part part = parts.next();
    if (part.tensor != nullptr) {
      write_tensor(out, parts, head, part.tensor, cells);
      head.clear();
      continue;
    }
    const std::span<const std::uint8_t> bytes = parts.bytes(part);
    out.write(bytes.data(), bytes.size());
    head.push_back(part);
  }
}

}  // namespace

StateFile::StateFile(const char* path, const llama_token* packed, std::size_t count)
    : file_(std::fopen(path, "wb"), &std::fclose) {
  if (!file_) throw std::runtime_error("the file cannot be opened");
  number(std::uint32_t{LLAMA_STATE_SEQ_MAGIC});
  number(std::uint32_t{LLAMA_STATE_SEQ_VERSION});
  number(static_cast<std::uint32_t>(count));
  write(packed, count * sizeof(llama_token));
}

void StateFile::write(const void* bytes, std::size_t size) {
  if (std::fwrite(bytes, 1, size, file_.get()) != size)
    throw std::runtime_error("the file cannot be written");
  written_ += size;
}

void StateFile::write_tensor(ggml_tensor* tensor, std::size_t offset, std::size_t size) {
  piece_.resize(size);
  ggml_backend_tensor_get(tensor, piece_.data(), offset, size);
  write(piece_.data(), size);
}

std::size_t StateFile::close() {
  if (std::fclose(file_.release()) != 0) throw std::runtime_error("the file cannot be written");
  return written_;
}

std::uint32_t count_cells(const llama_kv_cache& cache, llama_seq_id slot) {
  return cells_of(cache, slot).count;
}

// The engine's own order: for each stream a count of cells and, where there are any, the stream.
void write_cells(StateFile& out, const llama_kv_cache& cache, llama_seq_id slot) {
  const Cells cells = cells_of(cache, slot);
  Parts parts;
  cache.state_write(parts, slot, 0);
  const auto streams = parts.number<std::uint32_t>(parts.next());
  const std::uint32_t stream = cache.get_stream(slot);
  if (stream >= streams) fail_on_format();
  out.number(streams);
  for (std::uint32_t i = 0; i < stream; ++i) copy_number(out, parts);

  const auto written_by_engine = parts.number<std::uint32_t>(parts.next());
  const std::size_t after = streams - stream - 1;
  if ((written_by_engine == 0) != (cells.count == 0)) fail_on_format();
  out.number(cells.count);
  if (written_by_engine > 0) {
    const bool extended = cache.has_cell_ext();
    parts.skip(std::size_t{written_by_engine} * (extended ? 4 : 3));
    write_places(out, cells, slot, extended);
    write_stream(out, parts, cells, after);
  }
  for (std::size_t i = 0; i < after; ++i) copy_number(out, parts);
}

}  // namespace glowplug::worker
