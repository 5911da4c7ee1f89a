#pragma once

#include <string>

namespace vitower {

// "vitower 0.1.0 (built with ...)", for --version.
std::string VersionText();

}  // namespace vitower
