#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cli/command.h"
#include "cli/environment.h"
#include "cli/version.h"

namespace {

constexpr size_t kHelpWidth = 76;  // of what stands beside the flags

// `text` with line breaks in place of blanks, so that no line is longer than `width`.
std::string Wrapped(std::string text, size_t width) {
  size_t line = 0;
  while (text.size() - line > width) {
    const size_t blank = text.rfind(' ', line + width);
    if (blank == std::string::npos || blank <= line) break;
    text[blank] = '\n';
    line = blank + 1;
  }
  return text;
}

class HelpFormatter final : public CLI::Formatter {
 public:
  HelpFormatter() { column_width(40); }

  std::string make_option_desc(const CLI::Option* option) const override {
    return Wrapped(option->get_description(), kHelpWidth);
  }
  // As it stands: its examples are to be copied.
  std::string make_footer(const CLI::App* app) const override { return app->get_footer() + "\n"; }
};

std::vector<std::unique_ptr<vitower::Command>> AddCommands(CLI::App& root) {
  std::vector<std::unique_ptr<vitower::Command>> commands;
  commands.push_back(vitower::MakeServe(root));
  commands.push_back(vitower::MakeEmbed(root));
  commands.push_back(vitower::MakePreprocess(root));
  commands.push_back(vitower::MakeBench(root));
  commands.push_back(vitower::MakeHealthcheck(root));
  commands.push_back(vitower::MakeMakeCheckpoint(root));
  commands.push_back(vitower::MakeInspect(root));
  return commands;
}

// A variable of any sub-command may stand in the environment of all.
bool EnvironmentIsKnown(const std::vector<std::unique_ptr<vitower::Command>>& commands) {
  std::set<std::string> names;
  for (const auto& command : commands) {
    for (std::string& name : command->option_names()) names.insert(std::move(name));
  }
  const absl::Status checked = vitower::CheckVariables(vitower::VitowerVariables(), names);
  if (!checked.ok()) std::fprintf(stderr, "vitower: %s\n", std::string(checked.message()).c_str());
  return checked.ok();
}

// Prints the help asked for, or what is wrong with the command line.
int Exit(const CLI::App& root, const CLI::ParseError& error) {
  const std::vector<std::string> unknown = root.remaining();
  if (root.get_subcommands().empty() && !unknown.empty()) {
    std::fprintf(stderr, "vitower: \"%s\" is no sub-command; see vitower --help\n", unknown.front().c_str());
    return static_cast<int>(vitower::ExitCode::kUsage);
  }
  return root.exit(error) == 0 ? 0 : static_cast<int>(vitower::ExitCode::kUsage);
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a reader that went away is a write error, not the end of the process
  CLI::App root("Embeddings of the Qwen3-VL vision tower: a gRPC service and its tools.", "vitower");
  root.formatter(std::make_shared<HelpFormatter>());
  root.require_subcommand(1);
  root.set_version_flag("--version", vitower::VersionText());
  root.footer("vitower SUBCOMMAND --help tells the options of each, with examples.\n\n" +
              std::string(vitower::kExitCodesHelp) +
              "\n\nExamples:\n"
              "  vitower serve --model random:2b\n"
              "  vitower embed photos/ --server localhost:50051 --output embeddings/");
  const auto commands = AddCommands(root);
  try {
    root.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return Exit(root, error);
  }
  if (!EnvironmentIsKnown(commands)) return static_cast<int>(vitower::ExitCode::kUsage);
  for (const auto& command : commands) {
    if (command->chosen()) return static_cast<int>(command->Run());
  }
  return static_cast<int>(vitower::ExitCode::kUsage);
}
