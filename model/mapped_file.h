#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace vitower {

// A file mapped read-only for the object's life. Immutable and thread-safe; pages are read when they are touched.
// The file must not be shortened while it is mapped.
class MappedFile final {
 public:
  // NOT_FOUND where there is no such file, FAILED_PRECONDITION where it is not a regular one or cannot be opened or
  // mapped, with the path. Never waits for a writer of a FIFO.
  static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(const std::filesystem::path& path);

  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  absl::Span<const std::byte> bytes() const { return {data_, size_}; }

  // Gives the pages that lie wholly inside `range` back to the system; touching them reads them again.
  void Drop(absl::Span<const std::byte> range) const;

 private:
  MappedFile(const std::byte* data, size_t size) : data_(data), size_(size) {}

  const std::byte* const data_;
  const size_t size_;
};

}  // namespace vitower
