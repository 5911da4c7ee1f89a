#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/safetensors.h"

namespace vitower {
namespace {

absl::Status DiskError(const std::filesystem::path& path, const char* doing) {
  return absl::InternalError(absl::StrCat(path.string(), ": cannot ", doing, ": ", std::strerror(errno)));
}

absl::StatusOr<int64_t> ByteCount(const SafetensorsEntry& entry) {
  int64_t count = SafetensorsByteSize(entry.dtype);
  if (count == 0) {
    return absl::InvalidArgumentError(absl::StrCat("tensor \"", entry.name, "\": unknown dtype ", entry.dtype));
  }
  for (const int64_t side : entry.shape) {
    if (side < 0 || __builtin_mul_overflow(count, side, &count)) {
      return absl::InvalidArgumentError(absl::StrCat("tensor \"", entry.name, "\": a side of ", side));
    }
  }
  return count;
}

struct Header {
  std::string text;  // with the 8 bytes of its length before it
  int64_t data_bytes = 0;
};

absl::StatusOr<Header> MakeHeader(absl::Span<const SafetensorsEntry> entries,
                                  const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json table = nlohmann::ordered_json::object();
  if (!metadata.empty()) table["__metadata__"] = metadata;
  std::set<std::string_view> names;
  Header header;
  for (const SafetensorsEntry& entry : entries) {
    const auto bytes = ByteCount(entry);
    if (!bytes.ok()) return bytes.status();
    if (entry.name == "__metadata__" || !names.insert(entry.name).second) {
      return absl::InvalidArgumentError(absl::StrCat("tensor name \"", entry.name, "\" is taken"));
    }
    table[entry.name] = {{"dtype", entry.dtype},
                         {"shape", entry.shape},
                         {"data_offsets", {header.data_bytes, header.data_bytes + *bytes}}};
    header.data_bytes += *bytes;
  }
  std::string text = table.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  header.text.assign(reinterpret_cast<const char*>(&length), sizeof(length));
  header.text += text;
  return header;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SafetensorsWriter>> SafetensorsWriter::Create(
    const std::filesystem::path& path, absl::Span<const SafetensorsEntry> entries,
    const std::map<std::string, std::string>& metadata) {
  const auto header = MakeHeader(entries, metadata);
  if (!header.ok()) return header.status();
  const std::filesystem::path temporary = absl::StrCat(path.string(), ".", getpid(), ".part");
  std::FILE* file = std::fopen(temporary.c_str(), "wb");
  if (file == nullptr) return DiskError(temporary, "create");
  std::unique_ptr<SafetensorsWriter> writer(
      new SafetensorsWriter(path, temporary, file, static_cast<int64_t>(header->text.size()) + header->data_bytes));
  absl::Status status =
      writer->Append(absl::MakeConstSpan(reinterpret_cast<const std::byte*>(header->text.data()), header->text.size()));
  if (!status.ok()) return status;
  return writer;
}

SafetensorsWriter::SafetensorsWriter(std::filesystem::path path, std::filesystem::path temporary, std::FILE* file,
                                     int64_t expected_bytes)
    : path_(std::move(path)), temporary_(std::move(temporary)), file_(file), expected_bytes_(expected_bytes) {}

SafetensorsWriter::~SafetensorsWriter() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  std::error_code ignored;
  std::filesystem::remove(temporary_, ignored);
}

absl::Status SafetensorsWriter::Append(absl::Span<const std::byte> bytes) {
  if (bytes.empty()) return absl::OkStatus();
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size()) return DiskError(temporary_, "write");
  written_bytes_ += static_cast<int64_t>(bytes.size());
  return absl::OkStatus();
}

absl::Status SafetensorsWriter::Finish() {
  if (written_bytes_ != expected_bytes_) {
    return absl::FailedPreconditionError(
        absl::StrCat(path_.string(), ": ", written_bytes_, " bytes were appended, ", expected_bytes_, " announced"));
  }
  const bool closed = std::fclose(std::exchange(file_, nullptr)) == 0;
  if (!closed || std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    absl::Status status = DiskError(path_, "write");
    std::error_code ignored;
    std::filesystem::remove(temporary_, ignored);
    return status;
  }
  return absl::OkStatus();
}

absl::Status WriteSafetensors(const std::filesystem::path& path, absl::Span<const SafetensorsContent> tensors,
                              const std::map<std::string, std::string>& metadata) {
  std::vector<const SafetensorsContent*> order;
  for (const SafetensorsContent& tensor : tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return SafetensorsByteSize(a->entry.dtype) > SafetensorsByteSize(b->entry.dtype);
  });
  std::vector<SafetensorsEntry> entries;
  for (const SafetensorsContent* tensor : order) {
    const auto bytes = ByteCount(tensor->entry);
    if (!bytes.ok()) return bytes.status();
    if (*bytes != static_cast<int64_t>(tensor->bytes.size())) {
      return absl::InvalidArgumentError(absl::StrCat("tensor \"", tensor->entry.name, "\": ", tensor->bytes.size(),
                                                     " bytes given, its shape takes ", *bytes));
    }
    entries.push_back(tensor->entry);
  }
  auto writer = SafetensorsWriter::Create(path, entries, metadata);
  if (!writer.ok()) return writer.status();
  for (const SafetensorsContent* tensor : order) {
    absl::Status status = (*writer)->Append(tensor->bytes);
    if (!status.ok()) return status;
  }
  return (*writer)->Finish();
}

}  // namespace vitower
