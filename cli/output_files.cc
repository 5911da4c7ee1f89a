#include "cli/output_files.h"

#include <bit>
#include <cstring>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "cli/npy.h"
#include "model/safetensors.h"

namespace vitower {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "files hold little-endian values");

std::string WidenedBf16(const std::string& bf16) {
  std::string fp32(bf16.size() * 2, '\0');
  for (size_t i = 0; i + 1 < bf16.size(); i += 2) std::memcpy(&fp32[i * 2 + 2], &bf16[i], 2);
  return fp32;
}

absl::Status WriteNpyTensor(const fs::path& path, const NamedTensor& tensor) {
  const std::string wide = tensor.dtype == "BF16" ? WidenedBf16(tensor.data) : std::string();
  const std::string& data = wide.empty() ? tensor.data : wide;
  const std::string descr = tensor.dtype == "I64" ? "<i8" : tensor.dtype == "F16" ? "<f2" : "<f4";
  const fs::path temporary = absl::StrCat(path.string(), ".partial");
  absl::Status status =
      WriteNpy(temporary, descr, tensor.shape, {reinterpret_cast<const std::byte*>(data.data()), data.size()});
  std::error_code error;
  if (status.ok()) fs::rename(temporary, path, error);
  if (error) status = absl::UnavailableError(absl::StrCat(path.string(), ": cannot be written: ", error.message()));
  if (!status.ok()) fs::remove(temporary, error);
  return status;
}

absl::Status WriteOneSafetensors(const fs::path& path, absl::Span<const NamedTensor> tensors,
                                 const std::map<std::string, std::string>& metadata) {
  std::vector<SafetensorsContent> contents;
  for (const NamedTensor& tensor : tensors) {
    const auto* bytes = reinterpret_cast<const std::byte*>(tensor.data.data());
    contents.push_back({{tensor.name, tensor.dtype, tensor.shape}, {bytes, tensor.data.size()}});
  }
  return WriteSafetensors(path, contents, metadata);
}

}  // namespace

absl::Status WriteTensors(const fs::path& path, FileFormat format, absl::Span<const NamedTensor> tensors,
                          const std::map<std::string, std::string>& metadata) {
  std::error_code error;
  if (path.has_parent_path()) fs::create_directories(path.parent_path(), error);
  if (error) {
    return absl::UnavailableError(absl::StrCat(path.parent_path().string(), ": cannot be created: ", error.message()));
  }
  if (format == FileFormat::kSafetensors) return WriteOneSafetensors(path, tensors, metadata);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const fs::path file = i == 0 ? path : NpySibling(path, tensors[i].name);
    if (absl::Status status = WriteNpyTensor(file, tensors[i]); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace vitower
