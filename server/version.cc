#include "server/version.h"

namespace vitower {

const std::string_view kVersion = VITOWER_VERSION;

}  // namespace vitower
