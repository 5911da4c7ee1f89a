#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
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

// A folder of its own, removed at the end.
class ScratchFolder final {
 public:
  ScratchFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "vitower-fuzz-XXXXXX").string();
    Expect(mkdtemp(name.data()) != nullptr, "the folder is made");
    path_ = name;
  }
  ~ScratchFolder() { std::filesystem::remove_all(path_); }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void Write(const std::string& name, const uint8_t* data, size_t size) const {
    std::ofstream(path_ / name, std::ios::binary).write(reinterpret_cast<const char*>(data), static_cast<long>(size));
  }

 private:
  std::filesystem::path path_;
};

}  // namespace vitower
