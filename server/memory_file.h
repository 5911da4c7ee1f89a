// private header
#pragma once

#include <ctime>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vitower {

// Bytes that this process can open as a file, though they are in no file system: secrets do not reach a disk, and a
// read-only one is no hindrance. Not thread-safe; readers may be on other threads.
class MemoryFile final {
 public:
  static absl::StatusOr<std::unique_ptr<MemoryFile>> Create(const std::string& bytes);
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

  // At once: who opens it sees the old bytes or the new ones, and another time of modification, to the second.
  absl::Status Replace(const std::string& bytes);

 private:
  explicit MemoryFile(int fd) : fd_(fd) {}

  const int fd_;
  time_t version_ = 1;
};

}  // namespace vitower
