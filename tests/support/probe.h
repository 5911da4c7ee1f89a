#pragma once

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "model/encoder.h"

namespace vitower {

// What the programs share that tests drive from outside: their command line, and frames made up by a grid.

[[noreturn]] inline void Die(const absl::Status& status) {
  std::cerr << program_invocation_short_name << ": " << status << "\n";
  std::exit(1);
}

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) Die(value.status());
  return *std::move(value);
}

struct Arguments {
  std::vector<std::string> words;
  std::map<std::string, std::string> values;

  bool Has(const std::string& key) const { return values.contains(key); }
  std::string Get(const std::string& key, const std::string& otherwise) const {
    const auto found = values.find(key);
    return found == values.end() ? otherwise : found->second;
  }
  int Int(const std::string& key, int otherwise) const {
    return std::atoi(Get(key, std::to_string(otherwise)).c_str());
  }
};

// `switches` take no value.
inline Arguments ParseArguments(int argc, char** argv, const std::set<std::string>& switches) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (!word.starts_with("--")) {
      arguments.words.push_back(word);
    } else if (switches.contains(word) || i + 1 == argc) {
      arguments.values[word] = "";
    } else {
      arguments.values[word] = argv[++i];
    }
  }
  return arguments;
}

inline DType DTypeOf(const std::string& name) {
  return name == "fp32" ? DType::kFp32 : name == "fp16" ? DType::kFp16 : DType::kBf16;
}

// "8*1x20x38": eight stills of 20 x 38 patches; levels differ from pixel to pixel and from item to item.
inline std::vector<Frames> MakeFrames(const std::string& text, const TowerConfig& tower) {
  int count = 1;
  GridThw grid;
  char x = 0;
  const size_t star = text.find('*');
  if (star != std::string::npos) count = std::atoi(text.c_str());
  std::istringstream(text.substr(star == std::string::npos ? 0 : star + 1)) >> grid.t >> x >> grid.h >> x >> grid.w;
  std::vector<Frames> items(static_cast<size_t>(count));
  uint32_t state = 1;
  for (Frames& frames : items) {
    frames.grid = grid;
    frames.frame_count = grid.t == 1 ? 1 : grid.t * tower.temporal_patch_size;
    frames.height = grid.h * tower.patch_size;
    frames.width = grid.w * tower.patch_size;
    std::vector<uint8_t> rgb(static_cast<size_t>(frames.frame_count * frames.height * frames.width * 3));
    for (uint8_t& level : rgb) level = static_cast<uint8_t>((state = state * 1664525U + 1013904223U) >> 24);
    frames.rgb = std::move(rgb);
  }
  return items;
}

}  // namespace vitower
