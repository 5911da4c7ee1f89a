#pragma once

#include <CLI/App.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "cli/exit_code.h"
#include "cli/options.h"

namespace vitower {

// A sub-command: declares its options when it is made, does its work in Execute. `root` must outlive it.
class Command {
 public:
  virtual ~Command() = default;
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;

  bool chosen() const { return app_.parsed(); }
  std::vector<std::string> option_names() const { return options_.names(); }

  // REQUIRES: the command line was parsed. Settles the options, answers --print-config, then executes.
  ExitCode Run();

 protected:
  Command(CLI::App& root, const std::string& name, const std::string& description, const std::string& examples);

  // Prints "vitower NAME: MESSAGE" to stderr.
  ExitCode Fail(ExitCode code, std::string_view message) const;
  ExitCode Fail(const absl::Status& status) const;

  CLI::App& app() { return app_; }
  Options& options() { return options_; }
  const Options& options() const { return options_; }

 private:
  virtual ExitCode Execute() = 0;

  CLI::App& app_;
  Options options_;
};

// Each of these stands in the file of its name.
std::unique_ptr<Command> MakeServe(CLI::App& root);
std::unique_ptr<Command> MakeEmbed(CLI::App& root);
std::unique_ptr<Command> MakePreprocess(CLI::App& root);
std::unique_ptr<Command> MakeBench(CLI::App& root);
std::unique_ptr<Command> MakeHealthcheck(CLI::App& root);
std::unique_ptr<Command> MakeMakeCheckpoint(CLI::App& root);
std::unique_ptr<Command> MakeInspect(CLI::App& root);

}  // namespace vitower
