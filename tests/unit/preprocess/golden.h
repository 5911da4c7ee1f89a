#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "preprocess/image.h"

namespace vitower {

// A file of tests/golden/images, made by scripts/make_test_images.py; throws where it is missing.
std::vector<uint8_t> GoldenBytes(const std::string& name);
nlohmann::json GoldenJson(const std::string& name);

// A picture and what the reference makes of it: a row of expected.json.
struct GoldenFile {
  std::string name;
  std::vector<uint8_t> bytes;
  std::string format;
  ImageHeader header;    // its format is left at the default
  std::string rgb;       // SHA-256 of the upright picture's pixels
  std::string on_white;  // of the same composited on white; the same as rgb where nothing is transparent
};
std::vector<GoldenFile> GoldenFiles();

std::string Sha256(absl::Span<const uint8_t> bytes);  // in hexadecimal

// The bytes that the script's pattern() makes of the same seed.
std::vector<uint8_t> Pattern(uint64_t seed, size_t count);

}  // namespace vitower
