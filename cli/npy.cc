#include "cli/npy.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace vitower {
namespace {

// Magic, version, length of the header, the header: padded with blanks to a multiple of 64 and ended by a newline.
std::string Header(const std::string& descr, absl::Span<const int64_t> shape) {
  const std::string dimensions = absl::StrCat(absl::StrJoin(shape, ", "), shape.size() == 1 ? "," : "");
  std::string header = absl::StrCat("{'descr': '", descr, "', 'fortran_order': False, 'shape': (", dimensions, "), }");
  constexpr size_t kPrefixBytes = 10;
  header.append(63 - (kPrefixBytes + header.size()) % 64, ' ').append("\n");
  std::string prefix("\x93NUMPY\x01\x00", 8);
  prefix.push_back(static_cast<char>(header.size() & 0xFF));
  prefix.push_back(static_cast<char>(header.size() >> 8));
  return prefix + header;
}

}  // namespace

absl::Status WriteNpy(const std::filesystem::path& path, const std::string& descr, absl::Span<const int64_t> shape,
                      absl::Span<const std::byte> data) {
  const std::string header = Header(descr, shape);
  errno = 0;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(header.data(), static_cast<std::streamsize>(header.size()));
  file.write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size()));
  file.close();
  if (file.fail()) {
    return absl::UnavailableError(absl::StrCat(path.string(), ": cannot be written: ", std::strerror(errno)));
  }
  return absl::OkStatus();
}

}  // namespace vitower
