#include "models/gguf_header.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <optional>

#include <fmt/format.h>
#include <sys/stat.h>

#include "base/unique_fd.h"

namespace glowplug::models {
namespace {

static_assert(std::endian::native == std::endian::little,
              "GGUF is little-endian and read in place");

// Bounds of ours, tighter than the format's; real files of 2026 stay well under each.
constexpr std::uint64_t kKeysMax = 4096;
constexpr std::uint64_t kTensorsMax = 65'536;
constexpr std::uint64_t kKeyBytesMax = 256;
constexpr std::uint64_t kStringBytesMax = std::uint64_t{1} << 20;
constexpr std::uint64_t kArrayElementsMax = std::uint64_t{4} << 20;
constexpr std::uint64_t kArrayBytesMax = std::uint64_t{256} << 20;
constexpr std::uint64_t kTensorNameBytesMax = 63;
constexpr std::uint64_t kTensorElementsMax = std::uint64_t{1} << 40;
constexpr std::uint64_t kAlignmentMax = 65'536;

enum ValueType : std::uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};

std::uint64_t scalar_bytes(std::uint32_t type) {
  switch (type) {
    case kU8:
    case kI8:
    case kBool: return 1;
    case kU16:
    case kI16: return 2;
    case kU32:
    case kI32:
    case kF32: return 4;
    case kU64:
    case kI64:
    case kF64: return 8;
    default: return 0;
  }
}

struct TensorType {
  std::uint32_t id;
  std::uint64_t block;  // elements of one block
  std::uint64_t bytes;  // of one block
};

// Ids that are missing here were removed from the format (4, 5, 31-33, 36-38) or are not known yet.
constexpr std::array kTensorTypes{
    TensorType{0, 1, 4},      TensorType{1, 1, 2},      TensorType{2, 32, 18},
    TensorType{3, 32, 20},    TensorType{6, 32, 22},    TensorType{7, 32, 24},
    TensorType{8, 32, 34},    TensorType{9, 32, 36},    TensorType{10, 256, 84},
    TensorType{11, 256, 110}, TensorType{12, 256, 144}, TensorType{13, 256, 176},
    TensorType{14, 256, 210}, TensorType{15, 256, 292}, TensorType{16, 256, 66},
    TensorType{17, 256, 74},  TensorType{18, 256, 98},  TensorType{19, 256, 50},
    TensorType{20, 32, 18},   TensorType{21, 256, 110}, TensorType{22, 256, 82},
    TensorType{23, 256, 136}, TensorType{24, 1, 1},     TensorType{25, 1, 2},
    TensorType{26, 1, 4},     TensorType{27, 1, 8},     TensorType{28, 1, 8},
    TensorType{29, 256, 56},  TensorType{30, 1, 2},     TensorType{34, 256, 54},
    TensorType{35, 256, 66},  TensorType{39, 32, 17},   TensorType{40, 64, 36},
    TensorType{41, 128, 18},  TensorType{42, 64, 18}};

template <typename... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> text, Args&&... args) {
  throw GgufFault(fmt::format(text, std::forward<Args>(args)...));
}

// Reads forward through the file in windows; a read past the end throws before anything is
// allocated.
class FileCursor final {
 public:
  explicit FileCursor(const std::string& path)
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (!fd_.valid()) refuse("cannot open {}: {}", path, std::strerror(errno));
    struct stat status {};
    if (::fstat(fd_.get(), &status) != 0) refuse("cannot read {}: {}", path, std::strerror(errno));
    if (!S_ISREG(status.st_mode)) refuse("{} is not a regular file", path);
    size_ = static_cast<std::uint64_t>(status.st_size);
  }

  std::uint64_t size() const { return size_; }
  std::uint64_t offset() const { return offset_; }
  std::uint64_t left() const { return size_ - offset_; }

  void need(std::uint64_t bytes, const std::string& what) const {
    if (bytes > left())
      refuse("the file ends inside {} at offset {}: {} bytes are missing", what, offset_,
             bytes - left());
  }
  void skip(std::uint64_t bytes, const std::string& what) {
    need(bytes, what);
    offset_ += bytes;
  }
  void read(void* into, std::uint64_t bytes, const std::string& what) {
    need(bytes, what);
    char* out = static_cast<char*>(into);
    while (bytes > 0) {
      if (offset_ < window_at_ || offset_ >= window_at_ + window_bytes_) fill();
      const std::uint64_t from = offset_ - window_at_;
      const std::uint64_t n = std::min(bytes, window_bytes_ - from);
      std::memcpy(out, window_.data() + from, n);
      out += n;
      offset_ += n;
      bytes -= n;
    }
  }
  template <typename T>
  T take(const std::string& what) {
    T value{};
    read(&value, sizeof value, what);
    return value;
  }
  std::string take_string(std::uint64_t bytes_max, const std::string& what) {
    const std::uint64_t at = offset_;
    const auto bytes = take<std::uint64_t>(what);
    if (bytes > bytes_max)
      refuse("{} at offset {} claims {} bytes; at most {} are accepted", what, at, bytes,
             bytes_max);
    need(bytes, what);
    std::string text(bytes, '\0');
    read(text.data(), bytes, what);
    if (text.find('\0') != std::string::npos)
      refuse("{} at offset {} contains a NUL byte", what, at);
    return text;
  }

 private:
  void fill() {
    window_at_ = offset_;
    window_bytes_ = 0;
    ssize_t n = 0;
    do {
      n = ::pread(fd_.get(), window_.data(), window_.size(), static_cast<off_t>(offset_));
    } while (n < 0 && errno == EINTR);
    if (n <= 0)
      refuse("reading at offset {} failed: {}", offset_,
             n < 0 ? std::strerror(errno) : "the file shrank");
    window_bytes_ = static_cast<std::uint64_t>(n);
  }

  UniqueFd fd_;
  std::uint64_t size_ = 0;
  std::uint64_t offset_ = 0;
  std::uint64_t window_at_ = 0;
  std::uint64_t window_bytes_ = 0;
  std::vector<char> window_ = std::vector<char>(256 * 1024);
};

std::int64_t take_integer(FileCursor& file, std::uint32_t type, const std::string& what) {
  switch (type) {
    case kU8: return file.take<std::uint8_t>(what);
    case kI8: return file.take<std::int8_t>(what);
    case kU16: return file.take<std::uint16_t>(what);
    case kI16: return file.take<std::int16_t>(what);
    case kU32: return file.take<std::uint32_t>(what);
    case kI32: return file.take<std::int32_t>(what);
    default: return file.take<std::int64_t>(what);
  }
}

bool is_whole(std::uint32_t type) { return type <= kI32 || type == kI64 || type == kU64; }

// A token such as <0x0A> stands for a byte; the engine aborts on one whose digits are none.
constexpr std::uint64_t kByteTokenLength = 6;

void check_byte_token(FileCursor& file, const std::string& what, std::uint64_t index) {
  std::string token(kByteTokenLength, '\0');
  file.read(token.data(), token.size(), what);
  const auto is_hex = [](char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; };
  if (token.starts_with("<0x") && token.ends_with('>') && !(is_hex(token[3]) && is_hex(token[4])))
    refuse("{}[{}] is {}, which looks like a byte token but names no byte", what, index, token);
}

GgufArray take_array(FileCursor& file, const std::string& what) {
  GgufArray array;
  const std::uint64_t at = file.offset();
  array.type = file.take<std::uint32_t>(what);
  array.count = file.take<std::uint64_t>(what);
  if (array.type == kArray) refuse("{} at offset {} is an array of arrays", what, at);
  if (array.type > kF64)
    refuse("{} at offset {} has the unknown element type {}", what, at, array.type);
  if (array.count > kArrayElementsMax)
    refuse("{} at offset {} claims {} elements; at most {} are accepted", what, at, array.count,
           kArrayElementsMax);
  if (array.type == kString) {
    file.need(array.count * 8, what);
    for (std::uint64_t i = 0; i < array.count; ++i) {
      const std::uint64_t element_at = file.offset();
      const auto bytes = file.take<std::uint64_t>(what);
      if (bytes > kStringBytesMax)
        refuse("{}[{}] at offset {} claims {} bytes; at most {} are accepted", what, i, element_at,
               bytes, kStringBytesMax);
      if (bytes == kByteTokenLength)
        check_byte_token(file, what, i);
      else
        file.skip(bytes, what);
      if (file.offset() - at > kArrayBytesMax)
        refuse("{} is larger than {} bytes", what, kArrayBytesMax);
    }
    return array;
  }
  const std::uint64_t bytes = array.count * scalar_bytes(array.type);
  file.need(bytes, what);
  if (is_whole(array.type) && array.count <= kGgufListedMax)
    for (std::uint64_t i = 0; i < array.count; ++i)
      array.integers.push_back(take_integer(file, array.type, what));
  else
    file.skip(bytes, what);
  return array;
}

GgufValue take_value(FileCursor& file, std::uint32_t type, const std::string& what) {
  switch (type) {
    case kF32: return static_cast<double>(file.take<float>(what));
    case kF64: return file.take<double>(what);
    case kU64: return file.take<std::uint64_t>(what);
    case kString: return file.take_string(kStringBytesMax, what);
    case kArray: return take_array(file, what);
    case kBool: {
      const std::uint64_t at = file.offset();
      const auto byte = file.take<std::uint8_t>(what);
      if (byte > 1)
        refuse("{} at offset {} is {}, which is neither true nor false", what, at, byte);
      return byte == 1;
    }
    default:
      if (!is_whole(type))
        refuse("{} at offset {} has the unknown value type {}", what, file.offset(), type);
      return take_integer(file, type, what);
  }
}

bool is_key(std::string_view key) {
  return !key.empty() && std::all_of(key.begin(), key.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
  });
}

void take_metadata(FileCursor& file, std::uint64_t count, GgufHeader& header) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t at = file.offset();
    const std::string key = file.take_string(kKeyBytesMax, fmt::format("the name of key {}", i));
    if (!is_key(key))
      refuse("the name of key {} at offset {} has characters outside A-Z a-z 0-9 _ . -", i, at);
    if (header.values.contains(key)) refuse("the key {} at offset {} appears twice", key, at);
    const std::string what = "the key " + key;
    const auto type = file.take<std::uint32_t>(what);
    header.values.emplace(key, take_value(file, type, what));
  }
}

// Dimensions, type and size of one tensor; its size is returned so that placement can be checked.
GgufTensor take_tensor(FileCursor& file, std::uint64_t index) {
  GgufTensor tensor;
  const std::uint64_t at = file.offset();
  tensor.name = file.take_string(kTensorNameBytesMax, fmt::format("the name of tensor {}", index));
  if (tensor.name.empty()) refuse("tensor {} at offset {} has no name", index, at);
  const std::string what = "the tensor " + tensor.name;
  const auto count = file.take<std::uint32_t>(what);
  if (count < 1 || count > 4)
    refuse("{} at offset {} has {} dimensions; 1 to 4 are accepted", what, at, count);
  std::uint64_t elements = 1;
  for (std::uint32_t d = 0; d < count; ++d) {
    const auto size = file.take<std::uint64_t>(what);
    if (size < 1 || size > kTensorElementsMax || elements > kTensorElementsMax / size)
      refuse("{} at offset {}: dimension {} is {}; 1 to 2^40 elements in all are accepted", what,
             at, d, size);
    elements *= size;
    tensor.dimensions.push_back(size);
  }
  const auto type = file.take<std::uint32_t>(what);
  const auto known =
      std::find_if(kTensorTypes.begin(), kTensorTypes.end(),
                   [&](const TensorType& candidate) { return candidate.id == type; });
  if (known == kTensorTypes.end())
    refuse("{} at offset {} has the unknown data type {}", what, at, type);
  if (tensor.dimensions.front() % known->block != 0)
    refuse("{} at offset {}: a row of {} elements is not a multiple of its block of {}", what, at,
           tensor.dimensions.front(), known->block);
  tensor.bytes = elements / known->block * known->bytes;
  return tensor;
}

std::uint64_t alignment_of(const GgufHeader& header) {
  const auto found = header.values.find("general.alignment");
  if (found == header.values.end()) return 32;
  const auto* value = std::get_if<std::int64_t>(&found->second);
  if (value == nullptr || *value < 1 || *value > std::int64_t(kAlignmentMax) ||
      !std::has_single_bit(static_cast<std::uint64_t>(*value)))
    refuse("the key general.alignment must be a power of two from 1 to {}", kAlignmentMax);
  return static_cast<std::uint64_t>(*value);
}

std::uint64_t padded(std::uint64_t bytes, std::uint64_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

// Tensors lie one behind the other in the order of the list; the format allows no gaps and no
// overlaps.
void take_tensors(FileCursor& file, std::uint64_t count, GgufHeader& header) {
  const std::uint64_t alignment = alignment_of(header);
  std::uint64_t expected = 0;
  std::uint64_t end = 0;
  std::string last;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t at = file.offset();
    GgufTensor tensor = take_tensor(file, i);
    const auto offset = file.take<std::uint64_t>("the tensor " + tensor.name);
    if (offset != expected)
      refuse("the tensor {} at offset {} says its data is at {}; it must be at {}", tensor.name, at,
             offset, expected);
    if (tensor.bytes > (std::uint64_t{1} << 50) - expected)
      refuse("the tensor {} is too large", tensor.name);
    end = expected + tensor.bytes;
    expected = padded(end, alignment);
    header.weight_bytes += tensor.bytes;
    last = tensor.name;
    if (!header.tensors.emplace(tensor.name, std::move(tensor)).second)
      refuse("the tensor {} appears twice", last);
  }
  const std::uint64_t data_end = padded(file.offset(), alignment) + end;
  if (data_end > file.size())
    refuse("the file is cut short: {} bytes are missing before the end of the tensor {}",
           data_end - file.size(), last);
}

}  // namespace

GgufHeader parse_gguf_header(const std::string& path) {
  FileCursor file(path);
  GgufHeader header;
  header.file_bytes = file.size();
  if (file.size() == 0) refuse("the file is empty");
  std::array<char, 4> magic{};
  file.read(magic.data(), std::min<std::uint64_t>(4, file.size()), "the magic number");
  if (std::memcmp(magic.data(), "GGUF", 4) != 0)
    refuse("it is not a GGUF file: the first four bytes are not \"GGUF\"");
  const auto version = file.take<std::uint32_t>("the version");
  if (version < 2 || version > 3) refuse("GGUF version {} is not supported; 2 and 3 are", version);
  const auto tensors = file.take<std::uint64_t>("the tensor count");
  const auto keys = file.take<std::uint64_t>("the key count");
  if (tensors > kTensorsMax)
    refuse("the header claims {} tensors; at most {} are accepted", tensors, kTensorsMax);
  if (keys > kKeysMax) refuse("the header claims {} keys; at most {} are accepted", keys, kKeysMax);
  take_metadata(file, keys, header);
  take_tensors(file, tensors, header);
  return header;
}

}  // namespace glowplug::models
