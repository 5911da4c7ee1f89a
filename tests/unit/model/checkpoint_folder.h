#pragma once

#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "model/make_checkpoint.h"
#include "model/safetensors.h"

namespace vitower {

// A folder of its own, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "vitower-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

inline std::string ReadText(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void WriteText(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

// A tensor that a test may bend before it is written back.
struct LooseTensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
};
using LooseTensors = std::map<std::string, LooseTensor>;

// A valid checkpoint of the tiny shape to bend.
class CheckpointFolder : public TemporaryFolder {
 public:
  explicit CheckpointFolder(CheckpointRecipe recipe = {}) {
    const absl::Status written = WriteRandomCheckpoint(path(), recipe);
    EXPECT_TRUE(written.ok()) << written;
  }

  void EditJson(const std::string& file, const std::function<void(nlohmann::json&)>& edit) const {
    nlohmann::json json = nlohmann::json::parse(ReadText(path() / file));
    edit(json);
    WriteText(path() / file, json.dump());
  }

  void EditTensors(const std::function<void(LooseTensors&)>& edit,
                   const std::string& file = "model.safetensors") const {
    LooseTensors tensors;
    {
      const auto opened = SafetensorsFile::Open(path() / file);
      ASSERT_TRUE(opened.ok()) << opened.status();
      for (const auto& [name, tensor] : opened->tensors()) {
        tensors[name] = {tensor.dtype, tensor.shape, {tensor.bytes.begin(), tensor.bytes.end()}};
      }
    }
    edit(tensors);
    std::vector<SafetensorsContent> contents;
    for (const auto& [name, tensor] : tensors) contents.push_back({{name, tensor.dtype, tensor.shape}, tensor.bytes});
    const absl::Status written = WriteSafetensors(path() / file, contents);
    ASSERT_TRUE(written.ok()) << written;
  }
};

}  // namespace vitower
