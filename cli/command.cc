#include "cli/command.h"

#include <CLI/CLI.hpp>
#include <cstdio>

#include "absl/strings/str_cat.h"

namespace vitower {
namespace {

constexpr char kSourcesHelp[] =
    "\nEvery --flag is also an environment variable (--max-batch-patches: VITOWER_MAX_BATCH_PATCHES) and a key of the\n"
    "file given as --config (max-batch-patches = 2048, at its top or in a section named after the sub-command).\n"
    "The flag outweighs the variable, the variable the file, the file the default. A variable VITOWER_... of no "
    "option\n"
    "is refused.\n";

}  // namespace

Command::Command(CLI::App& root, const std::string& name, const std::string& description, const std::string& examples)
    : app_(*root.add_subcommand(name, description)), options_(app_) {
  app_.footer(absl::StrCat(kSourcesHelp, "\n", kExitCodesHelp, "\n\nExamples:\n", examples));
}

ExitCode Command::Run() {
  if (const absl::Status status = options_.Resolve(); !status.ok()) {
    return Fail(ExitCode::kUsage, std::string(status.message()));
  }
  if (options_.print_config()) {
    std::fputs(options_.Describe().c_str(), stdout);
    return ExitCode::kOk;
  }
  return Execute();
}

ExitCode Command::Fail(ExitCode code, std::string_view message) const {
  std::fprintf(stderr, "vitower %s: %.*s\n", app_.get_name().c_str(), static_cast<int>(message.size()), message.data());
  return code;
}

ExitCode Command::Fail(const absl::Status& status) const {
  return Fail(ExitCodeOf(status), std::string(status.message()));
}

}  // namespace vitower
