#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace vitower {

// One image or clip to work on.
struct InputFile {
  std::filesystem::path path;  // "-": standard input
  std::filesystem::path name;  // relative to the deepest folder that holds all inputs: unique within a run
};

struct InputList {
  std::vector<InputFile> files;  // arguments in their order, the files of a folder sorted by path; each file once
  std::map<std::string, int64_t> passed_over;  // files in folders with other extensions: how many of each
  bool many = false;                           // a folder or more than one argument was given: output goes to a folder
};

// Files as they are, whether they exist or not; folders with all files below them that have the extension of an image
// (.jpg .jpeg .jpe .png .webp .bmp .gif) or a clip (.mp4 .m4v .mov .mkv .webm .avi); "-" alone for standard input.
// INVALID_ARGUMENT where nothing is found, a folder cannot be read or "-" stands beside other inputs. Symbolic links to
// folders are not followed.
absl::StatusOr<InputList> CollectInputs(absl::Span<const std::string> arguments);

// "3 files passed over: 2 .heic, 1 .tif", or empty.
std::string DescribePassedOver(const InputList& inputs);

bool IsStandardInput(const InputFile& input);

// All bytes of a file or of standard input. NOT_FOUND or INVALID_ARGUMENT with the system's reason; the message does
// not name the file.
absl::StatusOr<std::string> ReadInput(const InputFile& input);

}  // namespace vitower
