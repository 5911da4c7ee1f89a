#include "cli/environment.h"

#include <unistd.h>

#include <algorithm>
#include <initializer_list>
#include <numeric>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/options.h"

namespace vitower {
namespace {

constexpr std::string_view kPrefix = "VITOWER_";

// Listed in environment.h.
bool IsForScripts(std::string_view variable) {
  constexpr std::string_view kNames[] = {"VITOWER_BIN_DIR",         "VITOWER_CPUS",        "VITOWER_GOLDEN_DIR",
                                         "VITOWER_GPU_IMAGE",       "VITOWER_IMAGE",       "VITOWER_LOAD_SECONDS",
                                         "VITOWER_MEMORY",          "VITOWER_SCREENSHOTS", "VITOWER_TEST_SEED",
                                         "VITOWER_TORCH_GPU_INDEX", "VITOWER_TORCH_INDEX", "VITOWER_TORCH_ROOT"};
  return std::find(std::begin(kNames), std::end(kNames), variable) != std::end(kNames);
}

bool IsNumber(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// "50051_TCP", "50051_TCP_ADDR", ...
bool IsPortAndProtocol(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, '_');
  const auto is_one_of = [](const std::string& part, std::initializer_list<std::string_view> known) {
    return std::find(known.begin(), known.end(), part) != known.end();
  };
  if (parts.size() < 2 || parts.size() > 3 || !IsNumber(parts[0])) return false;
  return is_one_of(parts[1], {"TCP", "UDP", "SCTP"}) &&
         (parts.size() == 2 || is_one_of(parts[2], {"PROTO", "PORT", "ADDR"}));
}

// Of a service vitower, vitower-headless and so on.
bool IsFromKubernetes(const std::string& variable) {
  constexpr std::string_view kPort = "_PORT";
  const auto ends_with = [&variable](std::string_view end) {
    return variable.size() >= end.size() && variable.compare(variable.size() - end.size(), end.size(), end) == 0;
  };
  if (ends_with("_SERVICE_HOST") || ends_with(kPort)) return true;
  if (variable.find("_SERVICE_PORT_") != std::string::npos) return true;
  const size_t port = variable.find("_PORT_");
  return port != std::string::npos && IsPortAndProtocol(variable.substr(port + kPort.size() + 1));
}

// How many letters must be put in, taken out or changed to turn `a` into `b`.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, diagonal + 1, row[j] + 1});
    }
  }
  return row[b.size()];
}

std::string Nearest(std::string_view variable, const std::set<std::string>& known) {
  return *std::min_element(known.begin(), known.end(), [variable](const std::string& a, const std::string& b) {
    return EditDistance(variable, a) < EditDistance(variable, b);
  });
}

}  // namespace

std::vector<std::string> VitowerVariables() {
  std::vector<std::string> names;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const size_t equals = text.find('=');
    const bool is_set = equals != std::string_view::npos && equals + 1 < text.size();
    if (is_set && text.substr(0, kPrefix.size()) == kPrefix) names.emplace_back(text.substr(0, equals));
  }
  return names;
}

absl::Status CheckVariables(absl::Span<const std::string> variables, const std::set<std::string>& option_names) {
  std::set<std::string> known;
  for (const std::string& name : option_names) known.insert(EnvironmentName(name));
  for (const std::string& variable : variables) {
    if (known.count(variable) > 0 || IsForScripts(variable) || IsFromKubernetes(variable)) continue;
    return absl::InvalidArgumentError(absl::StrCat("the environment variable ", variable,
                                                   " belongs to no option; did you mean ", Nearest(variable, known),
                                                   "? Unset what is not for vitower"));
  }
  return absl::OkStatus();
}

}  // namespace vitower
