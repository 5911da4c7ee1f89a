#include "cli/output_plan.h"

#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vitower {
namespace {

namespace fs = std::filesystem;

std::string Extension(FileFormat format) { return format == FileFormat::kNpy ? ".npy" : ".safetensors"; }

absl::StatusOr<FileFormat> ChooseFormat(const OutputRequest& request, bool to_folder) {
  const std::string extension = to_folder ? "" : fs::path(request.output).extension().string();
  for (FileFormat known : {FileFormat::kSafetensors, FileFormat::kNpy}) {
    if (extension != Extension(known)) continue;
    if (!request.format || *request.format == known) return known;
    return absl::InvalidArgumentError(absl::StrCat(
        "--output ", request.output, ": its extension contradicts the format ", Extension(*request.format).substr(1)));
  }
  return request.format.value_or(FileFormat::kSafetensors);
}

std::vector<fs::path> FilesOf(const fs::path& path, FileFormat format, const std::vector<std::string>& tensor_names) {
  std::vector<fs::path> files = {path};
  if (format == FileFormat::kSafetensors) return files;
  for (size_t i = 1; i < tensor_names.size(); ++i) files.push_back(NpySibling(path, tensor_names[i]));
  return files;
}

// Refuses what would lose something: a result over another, over an input, or over what is there already.
absl::Status CheckNothingIsLost(const OutputPlan& plan, const InputList& inputs, const OutputRequest& request) {
  std::set<fs::path> taken;
  for (const InputFile& input : inputs.files) taken.insert(fs::absolute(input.path).lexically_normal());
  size_t existing = 0;
  std::string first_existing;
  for (const fs::path& path : plan.paths) {
    for (const fs::path& file : FilesOf(path, plan.format, request.tensor_names)) {
      if (!taken.insert(fs::absolute(file).lexically_normal()).second) {
        return absl::InvalidArgumentError(absl::StrCat("--output: ", file.string(), " is an input or another output"));
      }
      std::error_code ignored;
      if (fs::exists(file, ignored) && existing++ == 0) first_existing = file.string();
    }
  }
  if (existing == 0 || request.overwrite) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--output: ", first_existing, " exists already",
                                                 existing > 1 ? absl::StrCat(" (one of ", existing, " files)") : "",
                                                 "; pass --overwrite to replace, or choose another --output"));
}

absl::Status CheckKind(const OutputRequest& request, bool to_folder) {
  if (request.output.empty()) return absl::InvalidArgumentError("--output is required: a file, or a folder for many");
  std::error_code ignored;
  const bool is_folder = fs::is_directory(request.output, ignored);
  if (to_folder && !is_folder && fs::exists(request.output, ignored)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--output ", request.output, " is a file: many inputs need a folder"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<FileFormat> ParseFileFormat(std::string_view text) {
  if (text == "safetensors") return FileFormat::kSafetensors;
  if (text == "npy") return FileFormat::kNpy;
  return absl::InvalidArgumentError(absl::StrCat("\"", std::string(text), "\" is not safetensors or npy"));
}

absl::StatusOr<OutputPlan> PlanOutputs(const InputList& inputs, const OutputRequest& request) {
  std::error_code ignored;
  const bool names_folder =
      !request.output.empty() && (request.output.back() == '/' || fs::is_directory(request.output, ignored));
  const bool to_folder = inputs.many || names_folder;
  if (absl::Status status = CheckKind(request, to_folder); !status.ok()) return status;
  const absl::StatusOr<FileFormat> format = ChooseFormat(request, to_folder);
  if (!format.ok()) return format.status();
  OutputPlan plan{*format, {}};
  for (const InputFile& input : inputs.files) {
    plan.paths.push_back(!to_folder ? fs::path(request.output)
                                    : fs::path(request.output) / (input.name.string() + Extension(*format)));
  }
  if (absl::Status status = CheckNothingIsLost(plan, inputs, request); !status.ok()) return status;
  return plan;
}

fs::path NpySibling(const fs::path& path, const std::string& tensor_name) {
  const fs::path stem = path.extension() == ".npy" ? fs::path(path).replace_extension() : path;
  return absl::StrCat(stem.string(), ".", tensor_name, ".npy");
}

}  // namespace vitower
