#include "queue/file_store.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <span>
#include <tuple>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>

#include "base/unique_fd.h"
#include "domain/errors.h"
#include "domain/limits.h"
#include "models/aead.h"

namespace glowplug::queue {
namespace {

namespace error = domain::error;
namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "sha256-";
constexpr std::string_view kIncoming = "incoming";
constexpr std::string_view kDeleted = "deleted";

std::int64_t milliseconds(WallTime time) { return time.time_since_epoch().count(); }
WallTime wall_time(std::int64_t ms) { return WallTime(std::chrono::milliseconds(ms)); }

Error no_space(const FileSpace& space) {
  return {
      std::string(error::kNoFileSpace),
      fmt::format("The files kept here fill their {} bytes; delete some, or raise files_budget.",
                  space.bytes_max),
      "file"};
}

Error no_file(const std::string& id) {
  return {std::string(error::kNotFound), fmt::format("There is no file `{}`.", id.substr(0, 80)),
          "id"};
}

Result<std::string> read_piece(const std::string& path, std::uint64_t offset, std::size_t size) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return models::file_error("cannot open " + path, errno);
  std::string piece(size, '\0');
  std::span<std::uint8_t> out(reinterpret_cast<std::uint8_t*>(piece.data()), piece.size());
  if (auto read = models::read_exactly(fd.get(), out, offset); !read) return read.error();
  return piece;
}

Result<std::vector<FileRecord>> read_rows(storage::Database& database) {
  auto select = database.prepare(
      "SELECT id, name, purpose, bytes, digest, created_ms, expires_ms, state FROM files");
  if (!select) return select.error();
  std::vector<FileRecord> rows;
  while (true) {
    const Result<bool> row = select->step();
    if (!row) return row.error();
    if (!*row) return rows;
    FileRecord record{.id = select->text(0),
                      .name = select->text(1),
                      .purpose = select->text(2),
                      .bytes = static_cast<std::uint64_t>(select->number(3)),
                      .digest = select->text(4),
                      .created = wall_time(select->number(5)),
                      .expires = {}};
    if (const std::int64_t expires = select->number(6); expires > 0)
      record.expires = wall_time(expires);
    record.deleted = select->text(7) == kDeleted;
    rows.push_back(std::move(record));
  }
}

}  // namespace

std::string new_file_id() {
  static constexpr std::string_view kLetters =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::array<std::uint8_t, 24> random;
  models::fill_random(random);
  std::string id = "file-";
  for (const std::uint8_t byte : random) id += kLetters[byte % kLetters.size()];
  return id;
}

FileDraft::FileDraft(models::DurableFile file, std::shared_ptr<FileSpace> space, FileOrigin origin)
    : file_(std::move(file)), space_(std::move(space)), origin_(origin) {}

FileDraft::~FileDraft() { space_->bytes -= bytes_; }

Result<void> FileDraft::write(std::string_view piece) {
  const std::uint64_t before = space_->bytes.fetch_add(piece.size());
  bytes_ += piece.size();
  if (origin_ == FileOrigin::Uploaded && before + piece.size() > space_->bytes_max)
    return no_space(*space_);
  hash_.add(piece.data(), piece.size());
  return file_.append({reinterpret_cast<const std::uint8_t*>(piece.data()), piece.size()});
}

FileStore::FileStore(Parts parts)
    : parts_(std::move(parts)),
      space_(std::make_shared<FileSpace>()),
      self_(std::make_shared<FileStore*>(this)) {
  space_->bytes_max = parts_.bytes_max;
}

Result<std::unique_ptr<FileStore>> FileStore::open(Parts parts) {
  std::unique_ptr<FileStore> store(new FileStore(std::move(parts)));
  if (auto loaded = store->load(); !loaded) return loaded.error();
  return store;
}

Result<void> FileStore::load() {
  if (auto made = models::make_private_folder(parts_.folder); !made) return made;
  std::vector<FileRecord> rows;
  auto read = parts_.writes.run([&rows](storage::Database& database) -> Result<void> {
    Result<std::vector<FileRecord>> found = read_rows(database);
    if (!found) return found.error();
    rows = std::move(*found);
    return {};
  });
  if (!read) return read;
  for (const FileRecord& row : rows) {
    ++uses_[row.digest];
    adopt(row);
  }
  models::remove_leftovers(parts_.folder);
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(parts_.folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kPrefix) && !uses_.contains(name.substr(kPrefix.size())))
      fs::remove(entry.path(), ignored);
  }
  return {};
}

std::string FileStore::path_of(const std::string& digest) const {
  return fmt::format("{}/{}{}", parts_.folder, kPrefix, digest);
}

void FileStore::begin(FileOrigin origin, std::function<void(Result<Draft>)> done) {
  if (origin == FileOrigin::Uploaded &&
      (files_.size() >= domain::kFilesMax || space_->bytes >= space_->bytes_max))
    return done(no_space(*space_));
  auto draft = std::make_shared<Result<Draft>>(Draft());  // owners: the work and its end
  parts_.disk.post(
      [draft, origin, space = space_, path = fmt::format("{}/{}", parts_.folder, kIncoming)] {
        Result<models::DurableFile> file = models::DurableFile::start(path);
        if (file)
          *draft = std::make_shared<FileDraft>(std::move(*file), space, origin);
        else
          *draft = file.error();
      },
      [draft, done = std::move(done)] { done(std::move(*draft)); });
}

void FileStore::append(Draft draft, std::string piece, Done done) {
  auto result = std::make_shared<Result<void>>();  // owners: the work and its end
  parts_.disk.post([draft = std::move(draft), piece = std::move(piece),
                    result] { *result = draft->write(piece); },
                   [result, done = std::move(done)] { done(std::move(*result)); });
}

// The digest is known, and counted as used, before the bytes get their name: else the end of
// another file with the same bytes could remove them in between.
void FileStore::seal(Draft draft, FileWish wish, Record done) {
  auto record = std::make_shared<FileRecord>();  // owners: the steps
  auto result = std::make_shared<Result<void>>();
  record->id = new_file_id();
  record->name = std::move(wish.name);
  record->purpose = std::move(wish.purpose);
  record->created = parts_.clock.wall_now();
  if (wish.expires_after)
    record->expires = record->created +
                      std::chrono::duration_cast<std::chrono::milliseconds>(*wish.expires_after);
  parts_.disk.post(
      [draft, record] {
        record->bytes = draft->bytes_;
        record->digest = draft->hash_.hex();
      },
      [this, draft, record, result, done = std::move(done)] {
        ++uses_[record->digest];
        parts_.disk.post(
            [draft, result, path = path_of(record->digest)] {
              draft->file_.rename_to(path);
              const Result<bool> published = draft->file_.publish(models::IfThere::Replace);
              if (!published) *result = published.error();
            },
            [this, record, result, done] {
              if (*result) return done(*record);
              let_go(record->digest);
              done(result->error());
            });
      });
}

void FileStore::keep(Draft draft, FileWish wish, Record done) {
  seal(std::move(draft), std::move(wish),
       [this, done = std::move(done)](Result<FileRecord> sealed) {
         if (!sealed) return done(sealed.error());
         const FileRecord record = *sealed;
         parts_.writes.post(
             [record](storage::Database& database) { return insert(database, record); },
             [this, record, done](const Result<void>& written) {
               if (!written) {
                 drop(record);
                 return done(written.error());
               }
               adopt(record);
               done(record);
             },
             storage::Need::May);
       });
}

Result<void> FileStore::insert(storage::Database& database, const FileRecord& record) {
  auto insert = database.prepare(
      "INSERT INTO files(id, name, purpose, bytes, digest, created_ms, expires_ms, state) "
      "VALUES(?, ?, ?, ?, ?, ?, ?, 'processed')");
  if (!insert) return insert.error();
  insert->bind(record.id)
      .bind(record.name)
      .bind(record.purpose)
      .bind(static_cast<std::int64_t>(record.bytes))
      .bind(record.digest)
      .bind(milliseconds(record.created))
      .bind(record.expires ? milliseconds(*record.expires) : 0);
  return insert->finish();
}

void FileStore::adopt(const FileRecord& record) {
  space_->bytes += record.bytes;
  files_[record.id] = record;
}

void FileStore::drop(const FileRecord& record) { let_go(record.digest); }

std::optional<FileRecord> FileStore::find_any(const std::string& id) const {
  const auto found = files_.find(id);
  if (found == files_.end()) return std::nullopt;
  return found->second;
}

std::optional<FileRecord> FileStore::find(const std::string& id) const {
  std::optional<FileRecord> found = find_any(id);
  if (found && found->deleted) found.reset();
  return found;
}

std::vector<FileRecord> FileStore::list() const {
  std::vector<FileRecord> all;
  all.reserve(files_.size());
  for (const auto& [id, record] : files_)
    if (!record.deleted) all.push_back(record);
  std::sort(all.begin(), all.end(), [](const FileRecord& a, const FileRecord& b) {
    return std::tie(a.created, a.id) < std::tie(b.created, b.id);
  });
  return all;
}

void FileStore::remove(const std::string& id, Done done) {
  if (!find(id) || leaving_.contains(id)) return done(no_file(id));
  leaving_.insert(id);
  held_.contains(id) ? hide_row(id, std::move(done)) : remove_row(id, std::move(done));
}

void FileStore::hide_row(const std::string& id, Done done) {
  parts_.writes.post(
      [id](storage::Database& database) -> Result<void> {
        auto statement = database.prepare("UPDATE files SET state = ? WHERE id = ?");
        if (!statement) return statement.error();
        return statement->bind(kDeleted).bind(id).finish();
      },
      [this, id, done = std::move(done)](const Result<void>& written) {
        leaving_.erase(id);
        if (written) files_.at(id).deleted = true;
        done(written);
      },
      storage::Need::Must);
}

void FileStore::remove_row(const std::string& id, Done done) {
  leaving_.insert(id);
  parts_.writes.post(
      [id](storage::Database& database) -> Result<void> {
        auto statement = database.prepare("DELETE FROM files WHERE id = ?");
        if (!statement) return statement.error();
        return statement->bind(id).finish();
      },
      [this, id, done = std::move(done)](const Result<void>& written) {
        leaving_.erase(id);
        if (written) {
          const FileRecord record = std::move(files_.at(id));
          files_.erase(id);
          space_->bytes -= record.bytes;
          let_go(record.digest);
        }
        done(written);
      },
      storage::Need::Must);
}

void FileStore::sweep() {
  const WallTime now = parts_.clock.wall_now();
  std::vector<std::string> over;
  for (const auto& [id, record] : files_) {
    const bool expired = record.expires && *record.expires <= now;
    if ((expired || record.deleted) && !held_.contains(id) && !leaving_.contains(id))
      over.push_back(id);
  }
  for (const std::string& id : over) remove_row(id, [](const Result<void>&) {});
}

FileStore::Hold FileStore::hold(const FileRecord& record) {
  ++uses_[record.digest];
  ++held_[record.id];
  auto path = std::make_unique<const std::string>(path_of(record.digest));
  return Hold(path.release(), [weak = std::weak_ptr<FileStore*>(self_), id = record.id,
                               digest = record.digest](const std::string* held) {
    delete held;
    if (const auto self = weak.lock()) (*self)->end_hold(id, digest);
  });
}

// The bytes stay for their row; one that is deleted goes with the next sweep.
void FileStore::end_hold(const std::string& id, const std::string& digest) {
  if (const auto found = held_.find(id); --found->second == 0) held_.erase(found);
  let_go(digest);
}

void FileStore::let_go(const std::string& digest) {
  const auto found = uses_.find(digest);
  if (found == uses_.end() || --found->second > 0) return;
  uses_.erase(found);
  parts_.disk.post([path = path_of(digest)] { ::unlink(path.c_str()); });
}

void FileStore::read(Hold bytes, std::uint64_t offset, std::size_t size,
                     std::function<void(Result<std::string>)> done) {
  auto piece = std::make_shared<Result<std::string>>(std::string());  // owners: work and its end
  std::string path = *bytes;
  parts_.disk.post(
      [path = std::move(path), offset, size, piece] { *piece = read_piece(path, offset, size); },
      // The hold ends on the loop.
      [bytes = std::move(bytes), piece, done = std::move(done)] { done(std::move(*piece)); });
}

}  // namespace glowplug::queue
