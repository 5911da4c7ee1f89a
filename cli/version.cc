#include "cli/version.h"

namespace vitower {

std::string VersionText() { return "vitower " VITOWER_VERSION " (built with " VITOWER_BUILT_WITH ")"; }

}  // namespace vitower
