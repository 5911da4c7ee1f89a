#include "golden.h"

#include <openssl/evp.h>

#include <array>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace vitower {
namespace {

std::ifstream Open(const std::string& name) {
  const std::string path = std::string(VITOWER_GOLDEN_DIR) + "/images/" + name;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return file;
}

}  // namespace

std::vector<uint8_t> GoldenBytes(const std::string& name) {
  std::ifstream file = Open(name);
  return std::vector<uint8_t>(std::istreambuf_iterator<char>(file), {});
}

nlohmann::json GoldenJson(const std::string& name) {
  std::ifstream file = Open(name);
  return nlohmann::json::parse(file);
}

std::vector<GoldenFile> GoldenFiles() {
  std::vector<GoldenFile> files;
  const nlohmann::json rows = GoldenJson("expected.json");
  for (const auto& [name, row] : rows.items()) {
    GoldenFile file;
    file.name = name;
    file.bytes = GoldenBytes(name);
    file.format = row["format"];
    file.rgb = row["rgb"];
    file.header.size = {.height = row["height"], .width = row["width"]};
    file.header.exif_orientation = row["orientation"];
    file.on_white = row.value("on_white", file.rgb);
    files.push_back(std::move(file));
  }
  return files;
}

std::string Sha256(absl::Span<const uint8_t> bytes) {
  std::array<uint8_t, 32> digest{};
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), nullptr, EVP_sha256(), nullptr) != 1) {
    throw std::runtime_error("EVP_Digest failed");
  }
  std::string hex;
  for (const uint8_t byte : digest) {
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 15];
  }
  return hex;
}

std::vector<uint8_t> Pattern(uint64_t seed, size_t count) {
  std::vector<uint8_t> bytes(count);
  for (size_t i = 0; i < count; ++i) {
    uint64_t value = (i * 2654435761U + seed * 40503U) & 0xFFFFFFFFU;
    value = ((value ^ value >> 15) * 2246822519U) & 0xFFFFFFFFU;
    bytes[i] = static_cast<uint8_t>(value >> 24);
  }
  return bytes;
}

}  // namespace vitower
