#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/inputs.h"

namespace vitower {

enum class FileFormat { kSafetensors, kNpy };

absl::StatusOr<FileFormat> ParseFileFormat(std::string_view text);

struct OutputRequest {
  std::string output;                // --output
  std::optional<FileFormat> format;  // unset: by the extension of a single output file, else safetensors
  bool overwrite = false;
  std::vector<std::string> tensor_names;  // what each result holds, the main tensor first
};

struct OutputPlan {
  FileFormat format = FileFormat::kSafetensors;
  std::vector<std::filesystem::path> paths;  // one for each input
};

// Where each input's result goes: `output` itself for a single input, else the input's own relative path with the
// format's extension appended (sub/a.jpg -> sub/a.jpg.safetensors) in the folder `output`. INVALID_ARGUMENT, before
// anything is written, where a file exists already (unless overwrite), where two results or a result and an input would
// be the same file, or where format and extension contradict each other.
absl::StatusOr<OutputPlan> PlanOutputs(const InputList& inputs, const OutputRequest& request);

// Where .npy output puts a tensor other than the main one: x.npy -> x.deepstack_0.npy.
std::filesystem::path NpySibling(const std::filesystem::path& path, const std::string& tensor_name);

}  // namespace vitower
