#include "server/secret_file.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "server/log.h"
#include "server/status.h"

namespace vitower {

absl::StatusOr<std::string> ReadSmallFile(std::string_view flag, const std::string& path) {
  constexpr std::streamsize kMost = 1 << 20;
  std::string bytes(kMost + 1, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.is_open()) return BadInput(flag, ": cannot read ", path, ": ", std::strerror(errno));
  file.read(bytes.data(), kMost + 1);
  if (file.bad()) return BadInput(flag, ": ", path, " is no file");
  if (file.gcount() > kMost) return BadInput(flag, ": ", path, " has more than 1 MiB");
  bytes.resize(static_cast<size_t>(file.gcount()));
  return bytes;
}

void WarnIfOpenToAll(std::string_view flag, const std::string& path) {
  struct stat about {};
  if (stat(path.c_str(), &about) != 0 || (about.st_mode & S_IROTH) == 0) return;
  Log(LogLevel::kWarning, Cat(flag, ": anybody on this machine may read ", path, "; chmod o-r would end that"));
}

}  // namespace vitower
