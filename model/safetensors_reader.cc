#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/bad_file.h"
#include "model/excerpt.h"
#include "model/mapped_file.h"
#include "model/safetensors.h"

namespace vitower {
namespace {

using nlohmann::json;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit

absl::Status BadTensor(const std::filesystem::path& path, const std::string& tensor, const std::string& what) {
  return BadFile(path, absl::StrCat("tensor \"", Excerpt(tensor), "\": ", what));
}

// Watches a header being parsed for a tensor name that comes twice, of which a parsed object shows only one.
class NamesSeen final {
 public:
  bool operator()(int depth, json::parse_event_t event, const json& value) {
    if (event != json::parse_event_t::key || depth != 1) return true;
    const auto& name = value.get_ref<const std::string&>();
    if (!names_.insert(name).second && !twice_) twice_ = name;
    return true;
  }
  const std::optional<std::string>& twice() const { return twice_; }

 private:
  std::set<std::string> names_;
  std::optional<std::string> twice_;
};

absl::StatusOr<json> ParseHeader(const std::filesystem::path& path, absl::Span<const std::byte> file) {
  if (file.size() < kLengthBytes) {
    return BadFile(path, absl::StrCat("not a safetensors file: ", file.size(), " bytes, at least 8 expected"));
  }
  uint64_t length = 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  if (length > kMaxHeaderBytes || length > file.size() - kLengthBytes) {
    return BadFile(path, absl::StrCat("header length ", length, " does not fit: the file has ", file.size(),
                                      " bytes, and a header may have ", kMaxHeaderBytes,
                                      " (truncated, or not a safetensors file)"));
  }
  const auto* text = reinterpret_cast<const char*>(file.data()) + kLengthBytes;
  NamesSeen names;
  json header = json::parse(text, text + length, std::ref(names), /*allow_exceptions=*/false);
  if (!header.is_object()) return BadFile(path, "the header is not a JSON object");
  if (names.twice()) return BadTensor(path, *names.twice(), "stands twice in the header");
  return header;
}

// A non-negative integer that fits int64, or nothing.
std::optional<int64_t> Natural(const json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  const auto number = value.get<uint64_t>();
  if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
  return static_cast<int64_t>(number);
}

std::optional<std::vector<int64_t>> Naturals(const json& parent, const char* key) {
  const auto found = parent.find(key);
  if (found == parent.end() || !found->is_array()) return std::nullopt;
  std::vector<int64_t> values;
  for (const json& value : *found) {
    const std::optional<int64_t> number = Natural(value);
    if (!number) return std::nullopt;
    values.push_back(*number);
  }
  return values;
}

std::optional<int64_t> ByteCount(const std::vector<int64_t>& shape, int64_t element_bytes) {
  int64_t count = element_bytes;
  for (const int64_t side : shape) {
    if (__builtin_mul_overflow(count, side, &count)) return std::nullopt;
  }
  return count;
}

struct Extent {
  int64_t begin;
  int64_t end;
  std::string tensor;
};

absl::StatusOr<Extent> ParseTensor(const std::filesystem::path& path, const std::string& name, const json& value,
                                   absl::Span<const std::byte> data, SafetensorsTensor& tensor) {
  const auto dtype = value.is_object() ? value.find("dtype") : value.end();
  if (dtype == value.end() || !dtype->is_string()) return BadTensor(path, name, "no dtype in the header");
  const auto shape = Naturals(value, "shape");
  if (!shape) return BadTensor(path, name, "no shape of non-negative integers in the header");
  const auto offsets = Naturals(value, "data_offsets");
  if (!offsets || offsets->size() != 2) return BadTensor(path, name, "no pair of data_offsets in the header");
  const int64_t begin = (*offsets)[0];
  const int64_t end = (*offsets)[1];
  if (begin > end || end > static_cast<int64_t>(data.size())) {
    return BadTensor(path, name,
                     absl::StrCat("data_offsets [", begin, ", ", end, "] do not lie in the file's ", data.size(),
                                  " bytes of data (truncated?)"));
  }
  tensor.dtype = dtype->get<std::string>();
  tensor.shape = *shape;
  tensor.bytes = data.subspan(begin, end - begin);
  if (const int64_t element_bytes = SafetensorsByteSize(tensor.dtype); element_bytes > 0) {
    const std::optional<int64_t> expected = ByteCount(*shape, element_bytes);
    if (expected != end - begin) {
      return BadTensor(
          path, name,
          absl::StrCat("data_offsets span ", end - begin, " bytes, shape [", Excerpt(absl::StrJoin(*shape, ", ")),
                       "] of ", tensor.dtype, " takes ", expected ? absl::StrCat(*expected) : "too many"));
    }
  }
  return Extent{begin, end, name};
}

absl::Status CheckCoverage(const std::filesystem::path& path, std::vector<Extent> extents, int64_t data_bytes) {
  std::sort(extents.begin(), extents.end(),
            [](const Extent& a, const Extent& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  int64_t expected = 0;
  for (const Extent& extent : extents) {
    if (extent.begin != expected) {
      return BadTensor(
          path, extent.tensor,
          absl::StrCat(extent.begin < expected ? "overlaps the tensor before it" : "leaves a gap before it",
                       ": begins at ", extent.begin, ", expected ", expected));
    }
    expected = extent.end;
  }
  if (expected == data_bytes) return absl::OkStatus();
  return BadFile(path, absl::StrCat("the tensors end at byte ", expected, " of the data, the file has ", data_bytes));
}

}  // namespace

std::string_view SafetensorsName(DType dtype) {
  return dtype == DType::kBf16 ? "BF16" : dtype == DType::kFp16 ? "F16" : "F32";
}

int64_t SafetensorsByteSize(std::string_view dtype) {
  static constexpr std::pair<std::string_view, int64_t> kSizes[] = {
      {"BOOL", 1}, {"U8", 1},   {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1}, {"I16", 2}, {"U16", 2},
      {"F16", 2},  {"BF16", 2}, {"I32", 4}, {"U32", 4},     {"F32", 4},     {"I64", 8},     {"U64", 8}, {"F64", 8}};
  for (const auto& [name, size] : kSizes) {
    if (name == dtype) return size;
  }
  return 0;
}

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::filesystem::path& path) {
  auto file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  const absl::Span<const std::byte> bytes = (*file)->bytes();
  auto header = ParseHeader(path, bytes);
  if (!header.ok()) return header.status();
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  const absl::Span<const std::byte> data = bytes.subspan(kLengthBytes + length);

  SafetensorsFile result;
  result.file_ = *std::move(file);
  std::vector<Extent> extents;
  for (const auto& [name, value] : header->items()) {
    if (name == "__metadata__") {
      for (const auto& [key, text] : value.items()) {
        if (text.is_string()) result.metadata_[key] = text.get<std::string>();
      }
      continue;
    }
    const auto place = result.tensors_.try_emplace(name).first;
    auto extent = ParseTensor(path, place->first, value, data, place->second);
    if (!extent.ok()) return extent.status();
    extents.push_back(*std::move(extent));
  }
  absl::Status covered = CheckCoverage(path, std::move(extents), static_cast<int64_t>(data.size()));
  if (!covered.ok()) return covered;
  return result;
}

std::shared_ptr<const void> SafetensorsFile::Hold(const SafetensorsTensor& tensor) const {
  return std::shared_ptr<const void>(tensor.bytes.data(),
                                     [file = file_, bytes = tensor.bytes](const void*) { file->Drop(bytes); });
}

}  // namespace vitower
