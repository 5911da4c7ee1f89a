#pragma once

#include <CLI/App.hpp>
#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vitower {

// Where the value of an option came from, weakest first.
enum class OptionSource { kDefault, kConfigFile, kEnvironment, kCommandLine };

struct OptionSpec {
  std::string name;           // "max-batch-patches", without dashes
  std::string type;           // what stands in the help behind the flag: "N", "SIZE"; empty for a switch
  std::string default_value;  // as it would be typed; empty: unset
  std::string help;
};

// Takes the text of an option into its target.
using OptionSetter = std::function<absl::Status(std::string_view text)>;

// The options of one sub-command. Each is a flag --NAME, an environment variable VITOWER_NAME and a key NAME of the
// file given as --config, at its top or in a section named after the sub-command; the flag outweighs the variable, the
// variable the file, the file the default. --print-config asks for the resulting list. Not thread-safe.
// `app` must outlive this.
class Options final {
 public:
  using GetEnv = std::function<const char*(const char* name)>;

  explicit Options(CLI::App& app, GetEnv getenv = nullptr);  // nullptr: the process's environment
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;

  void Add(OptionSpec spec, OptionSetter setter);
  // A switch: off unless given; true/false in the environment and the file.
  void AddSwitch(const std::string& name, const std::string& help, bool* target);

  // After the command line was parsed: finds every option's text and hands it to its setter. The message of a failure
  // names the option, where its value came from and what was expected.
  absl::Status Resolve();

  std::vector<std::string> names() const;
  bool print_config() const { return print_config_; }
  // One line an option: name, value, where it came from. The text is itself a config file.
  std::string Describe() const;
  // REQUIRES: an option of that name; Resolve was called.
  OptionSource source(std::string_view name) const;

 private:
  struct Entry {
    OptionSpec spec;
    OptionSetter setter;
    CLI::Option* flag = nullptr;
    std::string command_line;
    std::string value;
    OptionSource source = OptionSource::kDefault;
  };

  Entry& NewEntry(OptionSpec spec, OptionSetter setter);
  Entry* Find(std::string_view name) const;
  absl::Status ReadConfigFile();
  absl::Status TakeConfigItem(const CLI::ConfigItem& item);
  absl::Status CheckSection(const CLI::ConfigItem& item) const;
  void ReadEnvironment(Entry& entry) const;
  absl::Status Apply(Entry& entry) const;

  CLI::App& app_;
  const GetEnv getenv_;
  std::string config_file_;
  bool print_config_ = false;
  std::vector<std::unique_ptr<Entry>> entries_;  // in the order of the help; their addresses are known to the flags
};

// "max-batch-patches" -> "VITOWER_MAX_BATCH_PATCHES".
std::string EnvironmentName(std::string_view option_name);

// A setter that parses with `parse` and refuses numbers outside [min, max] or larger than Target holds.
template <class Target, class Parse>
OptionSetter Into(Target* target, Parse parse, int64_t min = 0, int64_t max = std::numeric_limits<int64_t>::max()) {
  if constexpr (std::is_same_v<Target, int>) max = std::min<int64_t>(max, std::numeric_limits<int>::max());
  return [=](std::string_view text) -> absl::Status {
    auto value = parse(text);
    if (!value.ok()) return value.status();
    if constexpr (std::is_arithmetic_v<std::decay_t<decltype(*value)>>) {
      if (*value < min || *value > max) {
        const std::string limit = *value < min ? absl::StrCat("at least ", min) : absl::StrCat("at most ", max);
        return absl::InvalidArgumentError(absl::StrCat(std::string(text), " is out of range: it must be ", limit));
      }
    }
    *target = static_cast<Target>(*value);
    return absl::OkStatus();
  };
}

OptionSetter IntoText(std::string* target);

}  // namespace vitower
