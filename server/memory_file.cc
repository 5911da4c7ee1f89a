#include "server/memory_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "server/status.h"

namespace vitower {
namespace {

// A descriptor of a new file of these bytes, or -1.
int NewFile(const std::string& bytes, time_t version) {
  const int fd = memfd_create("vitower", MFD_CLOEXEC);
  if (fd < 0) return -1;
  const timespec times[2] = {{version, 0}, {version, 0}};
  if (write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()) && futimens(fd, times) == 0)
    return fd;
  close(fd);
  return -1;
}

absl::Status Failed() {
  return MakeStatus(Fault::kInternal, Cat("cannot keep a file in memory: ", std::strerror(errno)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<MemoryFile>> MemoryFile::Create(const std::string& bytes) {
  const int fd = NewFile(bytes, /*version=*/1);
  if (fd < 0) return Failed();
  return std::unique_ptr<MemoryFile>(new MemoryFile(fd));
}

MemoryFile::~MemoryFile() { close(fd_); }

absl::Status MemoryFile::Replace(const std::string& bytes) {
  const int fd = NewFile(bytes, version_ + 1);
  if (fd < 0) return Failed();
  const bool replaced = dup3(fd, fd_, O_CLOEXEC) == fd_;
  absl::Status status = replaced ? absl::OkStatus() : Failed();
  close(fd);
  if (replaced) ++version_;
  return status;
}

}  // namespace vitower
