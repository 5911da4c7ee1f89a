#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/encoder.h"

namespace vitower {

class MappedFile;

// The name of a dtype in a safetensors header: "BF16", "F16" or "F32".
std::string_view SafetensorsName(DType dtype);

// The bytes of one element of a safetensors dtype ("F32", "I64", ...); 0 for a dtype that is not known.
int64_t SafetensorsByteSize(std::string_view dtype);

// One tensor of an open file.
struct SafetensorsTensor {
  std::string dtype;                  // as the header names it
  std::vector<int64_t> shape;         // each >= 0
  absl::Span<const std::byte> bytes;  // row-major, little-endian; not necessarily aligned
};

// A safetensors file, mapped into memory: only what is touched is read. Immutable and thread-safe; copies share the
// map. Open checks the whole header before anything is trusted: its length, its JSON, that every tensor's bytes fit its
// shape and dtype, and that the tensors cover the rest of the file without gap or overlap. Errors name file and tensor.
class SafetensorsFile final {
 public:
  static absl::StatusOr<SafetensorsFile> Open(const std::filesystem::path& path);

  const std::map<std::string, SafetensorsTensor, std::less<>>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  // What keeps a tensor's bytes mapped. When its last copy goes, the pages of the tensor are given back.
  std::shared_ptr<const void> Hold(const SafetensorsTensor& tensor) const;

 private:
  std::shared_ptr<const MappedFile> file_;
  std::map<std::string, SafetensorsTensor, std::less<>> tensors_;
  std::map<std::string, std::string> metadata_;
};

// What a writer puts into the header for one tensor.
struct SafetensorsEntry {
  std::string name;
  std::string dtype;  // "BF16", "F16", "F32", "I64" or another that SafetensorsByteSize knows
  std::vector<int64_t> shape;
};

// Writes a file whose tensors come one after another, so that none has to be held whole: Create, Append the bytes of
// the entries in their order in pieces of any size, Finish. The file appears under its name at Finish, complete, or
// not at all. Not thread-safe; every call may block on the disk.
class SafetensorsWriter final {
 public:
  static absl::StatusOr<std::unique_ptr<SafetensorsWriter>> Create(const std::filesystem::path& path,
                                                                   absl::Span<const SafetensorsEntry> entries,
                                                                   const std::map<std::string, std::string>& metadata);
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  absl::Status Append(absl::Span<const std::byte> bytes);
  // FAILED_PRECONDITION if more or fewer bytes came than the entries announced.
  absl::Status Finish();

 private:
  SafetensorsWriter(std::filesystem::path path, std::filesystem::path temporary, std::FILE* file,
                    int64_t expected_bytes);

  const std::filesystem::path path_;
  const std::filesystem::path temporary_;
  std::FILE* file_;
  const int64_t expected_bytes_;
  int64_t written_bytes_ = 0;
};

// A tensor that is in memory already; `bytes` is borrowed for the call.
struct SafetensorsContent {
  SafetensorsEntry entry;
  absl::Span<const std::byte> bytes;
};

// Writes `tensors` as one file, wider dtypes first so that each stays aligned. Replaces an existing file at once or not
// at all. INVALID_ARGUMENT where bytes do not fit shape and dtype or a name comes twice.
absl::Status WriteSafetensors(const std::filesystem::path& path, absl::Span<const SafetensorsContent> tensors,
                              const std::map<std::string, std::string>& metadata = {});

}  // namespace vitower
