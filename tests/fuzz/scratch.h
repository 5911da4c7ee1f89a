#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "tests/fuzz/expect.h"

namespace vitower {

// A file in memory that is opened by a path.
class ScratchFile final {
 public:
  ScratchFile(const uint8_t* data, size_t size) : descriptor_(memfd_create("fuzz", 0)) {
    Expect(descriptor_ >= 0 && write(descriptor_, data, size) == static_cast<ssize_t>(size), "the file is written");
  }
  ~ScratchFile() { close(descriptor_); }
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  const int descriptor_;
};

}  // namespace vitower
