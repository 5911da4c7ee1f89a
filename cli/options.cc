#include "cli/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "cli/parse.h"

namespace vitower {
namespace {

std::string Quoted(const std::string& value) {
  const bool plain = value.find_first_of(" \t,#;'[]") == std::string::npos;
  return plain ? value : absl::StrCat("\"", value, "\"");
}

std::string SourceText(OptionSource source, const std::string& name, const std::string& config_file) {
  switch (source) {
    case OptionSource::kDefault:
      return "default";
    case OptionSource::kConfigFile:
      return absl::StrCat("config file ", config_file);
    case OptionSource::kEnvironment:
      return absl::StrCat("environment ", EnvironmentName(name));
    case OptionSource::kCommandLine:
      return "command line";
  }
  return "";
}

}  // namespace

std::string EnvironmentName(std::string_view option_name) {
  std::string name = absl::StrCat("VITOWER_", absl::AsciiStrToUpper(std::string(option_name)));
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

OptionSetter IntoText(std::string* target) {
  return [target](std::string_view text) {
    *target = std::string(text);
    return absl::OkStatus();
  };
}

Options::Options(CLI::App& app, GetEnv getenv)
    : app_(app), getenv_(getenv ? std::move(getenv) : [](const char* name) -> const char* { return ::getenv(name); }) {
  Add({"config", "FILE", "", "read options from this file: lines NAME = VALUE (TOML or INI)"}, IntoText(&config_file_));
  AddSwitch("print-config", "print every option, its value and where it came from, and stop", &print_config_);
}

Options::Entry& Options::NewEntry(OptionSpec spec, OptionSetter setter) {
  entries_.push_back(std::make_unique<Entry>());
  Entry& entry = *entries_.back();
  entry.spec = std::move(spec);
  entry.setter = std::move(setter);
  return entry;
}

void Options::Add(OptionSpec spec, OptionSetter setter) {
  Entry& entry = NewEntry(std::move(spec), std::move(setter));
  const std::string& fallback = entry.spec.default_value;
  entry.flag = app_.add_option("--" + entry.spec.name, entry.command_line, entry.spec.help);
  entry.flag->option_text(absl::StrCat(entry.spec.type, fallback.empty() ? "" : absl::StrCat(" (", fallback, ")")));
}

void Options::AddSwitch(const std::string& name, const std::string& help, bool* target) {
  Entry& entry = NewEntry({name, "", "false", help}, Into(target, ParseBool));
  entry.flag = app_.add_flag_callback(
      "--" + name, [&entry] { entry.command_line = "true"; }, help);
}

absl::Status Options::Resolve() {
  for (const auto& entry : entries_) {
    entry->value = entry->spec.default_value;
    entry->source = OptionSource::kDefault;
    ReadEnvironment(*entry);
    if (entry->flag->count() > 0) {
      entry->value = entry->command_line;
      entry->source = OptionSource::kCommandLine;
    }
  }
  if (absl::Status status = Apply(*Find("config")); !status.ok()) return status;
  if (absl::Status status = ReadConfigFile(); !status.ok()) return status;
  for (const auto& entry : entries_) {
    if (absl::Status status = Apply(*entry); !status.ok()) return status;
  }
  return absl::OkStatus();
}

void Options::ReadEnvironment(Entry& entry) const {
  const char* value = getenv_(EnvironmentName(entry.spec.name).c_str());
  if (value == nullptr || *value == '\0') return;
  entry.value = value;
  entry.source = OptionSource::kEnvironment;
}

absl::Status Options::ReadConfigFile() {
  if (config_file_.empty()) return absl::OkStatus();
  try {
    for (const CLI::ConfigItem& item : CLI::ConfigTOML().from_file(config_file_)) {
      if (absl::Status status = TakeConfigItem(item); !status.ok()) return status;
    }
  } catch (const CLI::Error& error) {
    return absl::InvalidArgumentError(absl::StrCat("--config ", config_file_, ": ", error.what()));
  }
  return absl::OkStatus();
}

absl::Status Options::TakeConfigItem(const CLI::ConfigItem& item) {
  if (item.name == "++" || item.name == "--") return absl::OkStatus();  // a section begins or ends
  if (!item.parents.empty() && item.parents != std::vector<std::string>{app_.get_name()}) return CheckSection(item);
  Entry* entry = Find(item.name);
  if (entry == nullptr || item.name == "config" || item.name == "print-config") {
    return absl::InvalidArgumentError(
        absl::StrCat("--config ", config_file_, ": ", app_.get_name(), " has no option \"", item.name, "\""));
  }
  if (entry->source >= OptionSource::kEnvironment) return absl::OkStatus();
  entry->value = absl::StrJoin(item.inputs, ",");
  entry->source = OptionSource::kConfigFile;
  return absl::OkStatus();
}

// What stands in the section of another sub-command is left to it; a section of none is a typing error.
absl::Status Options::CheckSection(const CLI::ConfigItem& item) const {
  const std::string section = absl::StrJoin(item.parents, ".");
  const CLI::App* root = app_.get_parent();
  const auto commands = root == nullptr ? std::vector<const CLI::App*>() : root->get_subcommands(nullptr);
  const bool known = std::any_of(commands.begin(), commands.end(),
                                 [&](const CLI::App* command) { return command->get_name() == section; });
  if (known) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--config ", config_file_, ": there is no sub-command for the section [", section, "]"));
}

absl::Status Options::Apply(Entry& entry) const {
  if (entry.value.empty() && entry.source == OptionSource::kDefault) return absl::OkStatus();
  absl::Status status = entry.setter(entry.value);
  if (status.ok()) return status;
  return absl::InvalidArgumentError(absl::StrCat("--", entry.spec.name, " (",
                                                 SourceText(entry.source, entry.spec.name, config_file_),
                                                 "): ", std::string(status.message())));
}

std::vector<std::string> Options::names() const {
  std::vector<std::string> names;
  for (const auto& entry : entries_) names.push_back(entry->spec.name);
  return names;
}

std::string Options::Describe() const {
  std::string text = absl::StrCat("# vitower ", app_.get_name(), "\n");
  for (const auto& entry : entries_) {
    if (entry->spec.name == "config" || entry->spec.name == "print-config") continue;
    std::string line = entry->value.empty() ? absl::StrCat("# ", entry->spec.name, " is not set")
                                            : absl::StrCat(entry->spec.name, " = ", Quoted(entry->value));
    line.resize(std::max<size_t>(line.size(), 40), ' ');
    absl::StrAppend(&text, line, "  # ", SourceText(entry->source, entry->spec.name, config_file_), "\n");
  }
  return text;
}

OptionSource Options::source(std::string_view name) const { return Find(name)->source; }

Options::Entry* Options::Find(std::string_view name) const {
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [name](const std::unique_ptr<Entry>& entry) { return entry->spec.name == name; });
  return found == entries_.end() ? nullptr : found->get();
}

}  // namespace vitower
