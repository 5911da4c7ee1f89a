#include "cli/inputs.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/media_kind.h"

namespace vitower {
namespace {

namespace fs = std::filesystem;

constexpr char kStandardInput[] = "-";

bool HasKnownExtension(const fs::path& path) {
  static const std::set<std::string> images = {".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".gif"};
  return images.count(absl::AsciiStrToLower(path.extension().string())) > 0 || HasClipExtension(path);
}

absl::StatusOr<std::vector<fs::path>> MediaBelow(const fs::path& folder, std::map<std::string, int64_t>& passed_over) {
  std::vector<fs::path> found;
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    std::error_code ignored;
    if (!entry->is_regular_file(ignored)) continue;
    if (HasKnownExtension(entry->path())) {
      found.push_back(entry->path());
    } else {
      ++passed_over[entry->path().extension().string()];
    }
  }
  if (error) return absl::InvalidArgumentError(absl::StrCat(folder.string(), ": ", error.message()));
  if (found.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        folder.string(),
        ": no image or clip in this folder (.jpg .jpeg .jpe .png .webp .bmp .gif .mp4 .m4v .mov .mkv .webm .avi)"));
  }
  std::sort(found.begin(), found.end());
  return found;
}

fs::path Absolute(const fs::path& path) {
  std::error_code ignored;
  const fs::path absolute = fs::absolute(path, ignored).lexically_normal();
  return absolute.has_filename() ? absolute : absolute.parent_path();  // "photos/" is "photos"
}

// The deepest folder that holds both.
fs::path CommonFolder(const fs::path& a, const fs::path& b) {
  fs::path common;
  for (auto i = a.begin(), j = b.begin(); i != a.end() && j != b.end() && *i == *j; ++i, ++j) common /= *i;
  return common;
}

// Names every file relative to the deepest folder holding all `roots`, and drops files that came twice.
void NameFiles(const std::vector<fs::path>& roots, InputList& list) {
  fs::path base = roots.front();
  for (const fs::path& root : roots) base = CommonFolder(base, root);
  std::set<fs::path> seen;
  std::vector<InputFile> files;
  for (InputFile& file : list.files) {
    const fs::path absolute = Absolute(file.path);
    if (!seen.insert(absolute).second) continue;
    file.name = absolute.lexically_relative(base);
    files.push_back(std::move(file));
  }
  list.files = std::move(files);
}

}  // namespace

absl::StatusOr<InputList> CollectInputs(absl::Span<const std::string> arguments) {
  if (arguments.empty())
    return absl::InvalidArgumentError("no input: name image or clip files or folders, or - for stdin");
  InputList list;
  if (arguments.size() == 1 && arguments[0] == kStandardInput) {
    list.files.push_back({kStandardInput, "stdin"});
    return list;
  }
  std::vector<fs::path> roots;
  list.many = arguments.size() > 1;
  for (const fs::path argument : arguments) {
    if (argument == kStandardInput) return absl::InvalidArgumentError("- (stdin) must be the only input");
    std::error_code ignored;
    if (!fs::is_directory(argument, ignored)) {
      list.files.push_back({argument, {}});
      roots.push_back(Absolute(argument).parent_path());
      continue;
    }
    absl::StatusOr<std::vector<fs::path>> found = MediaBelow(argument, list.passed_over);
    if (!found.ok()) return found.status();
    for (fs::path& file : *found) list.files.push_back({std::move(file), {}});
    roots.push_back(Absolute(argument));
    list.many = true;
  }
  NameFiles(roots, list);
  return list;
}

std::string DescribePassedOver(const InputList& inputs) {
  int64_t files = 0;
  std::vector<std::string> kinds;
  for (const auto& [extension, count] : inputs.passed_over) {
    files += count;
    kinds.push_back(absl::StrCat(count, " ", extension.empty() ? "without extension" : extension));
  }
  return files == 0
             ? ""
             : absl::StrCat(files, files == 1 ? " file" : " files", " passed over: ", absl::StrJoin(kinds, ", "));
}

bool IsStandardInput(const InputFile& input) { return input.path == kStandardInput; }

absl::StatusOr<std::string> ReadInput(const InputFile& input) {
  if (IsStandardInput(input)) {
    return std::string(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
  }
  std::error_code ignored;
  if (fs::is_directory(input.path, ignored)) return absl::InvalidArgumentError("is a folder");
  errno = 0;
  std::ifstream file(input.path, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file.is_open() || file.bad()) return absl::NotFoundError(absl::StrCat("cannot be read: ", std::strerror(errno)));
  return bytes;
}

}  // namespace vitower
