// The input file of a batch, read piece by piece: JSON lines, each one request.
//
//   {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": …}}
//
// BatchReader gives lines in order and says what is wrong with single ones; BatchCheck keeps what
// is known of all of them: how many, ids that were there before, the faults that are told. Both
// hold little: a piece, and sixteen bytes for each id.
//
// Thread: one owner at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace glowplug::queue {

// Of one line of the file, or of the whole file (line 0).
struct BatchFault {
  std::uint64_t line = 0;
  std::string code;
  std::string message;
  std::string param;
  friend bool operator==(const BatchFault&, const BatchFault&) = default;
};

struct BatchLine {
  std::uint64_t line = 0;  // from 1, blank ones counted
  std::string custom_id;
  std::string model;
  std::string body;        // JSON
  std::size_t inputs = 1;  // of embeddings: how many texts
};

bool is_batch_endpoint(std::string_view path);
std::string batch_endpoints();  // as a sentence lists them

// One line without its end. Pure.
std::variant<BatchLine, BatchFault> read_batch_line(std::string_view text, std::uint64_t line,
                                                    std::string_view endpoint);

class BatchReader final {
 public:
  struct Piece {
    std::vector<BatchLine> lines;
    std::vector<BatchFault> faults;
    bool end = false;
  };

  static Result<BatchReader> open(const std::string& path, std::string endpoint);

  // The next lines: at most so many, and no further one once they hold that many bytes.
  Result<Piece> next(std::size_t lines_max, std::size_t bytes_max);
  // Reads on from behind this line, without a look at what comes before it.
  Result<void> skip(std::uint64_t line);

 private:
  BatchReader(UniqueFd fd, std::string path, std::string endpoint);
  struct Line {
    std::string_view text;
    bool too_long = false;
    bool end = false;
  };
  Result<Line> next_line();
  Result<bool> fill();  // false at the end of the file

  UniqueFd fd_;
  std::string path_;
  std::string endpoint_;
  std::string held_;
  std::size_t at_ = 0;  // of held_, where the next line begins
  std::uint64_t line_ = 0;
  bool ended_ = false;
};

class BatchCheck final {
 public:
  struct Options {
    std::size_t lines_max;
    std::size_t faults_listed;
    std::size_t inputs_max;  // of embeddings, over all lines
  };
  using ModelExists = std::function<bool(const std::string&)>;

  explicit BatchCheck(Options options) : options_(options) {}

  // `exists` is asked once for each model.
  void add(const BatchReader::Piece& piece, const ModelExists& exists);
  // What is wrong with the file as a whole is known at its end.
  void end();
  bool hopeless() const { return lines_ > options_.lines_max; }  // reading on brings nothing

  std::uint64_t lines() const { return lines_; }
  bool ok() const { return faulty_ == 0; }
  // The first ones, and one more that counts those that are not listed.
  std::vector<BatchFault> faults() const;

 private:
  using IdHash = std::array<std::uint64_t, 2>;
  struct Fold {
    std::size_t operator()(const IdHash& hash) const { return static_cast<std::size_t>(hash[0]); }
  };
  void fault(BatchFault fault);

  Options options_;
  std::unordered_set<IdHash, Fold> ids_;
  std::unordered_set<std::string> known_, unknown_;  // models
  std::vector<BatchFault> faults_;
  std::uint64_t faulty_ = 0;
  std::uint64_t lines_ = 0;
  std::uint64_t inputs_ = 0;
};

}  // namespace glowplug::queue
