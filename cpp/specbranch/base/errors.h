/// Every exception that the engine throws. Messages read `[Class::method] what; value; limit`.
#pragma once

#include <exception>
#include <stdexcept>
#include <string>

namespace specbranch {

/// Base of all errors of the engine (Python: SpecBranchError).
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// An argument is out of its range; nothing was started.
class InvalidArgument : public Error {
 public:
  using Error::Error;
};

/// A model file could not be opened or is not a model that can generate.
class ModelLoadError : public Error {
 public:
  using Error::Error;
};

/// Draft and target do not fit together; names the first difference.
class IncompatibleModels : public Error {
 public:
  using Error::Error;
};

/// The prompt does not fit the context.
class ContextOverflow : public Error {
 public:
  using Error::Error;
};

/// A forward pass failed. The generation ends; the engine stays usable unless it says otherwise.
class DecodeError : public Error {
 public:
  using Error::Error;
};

/// A model's scores are not finite numbers. The cells that gave them are lost, and may have spoilt
/// those of other texts in the same context: a masked cell counts 0 times, and 0 times infinity is
/// not a number.
class NonFiniteScores : public DecodeError {
 public:
  using DecodeError::DecodeError;
};

/// The model is in an unknown state. If it is the target, every later call of the engine raises
/// this same error; the engine never uses such a draft again.
class FatalError : public DecodeError {
 public:
  using DecodeError::DecodeError;
};

/// `error` holds a `Kind`.
template <class Kind>
bool is_error(const std::exception_ptr& error) {
  if (!error) return false;
  try {
    std::rethrow_exception(error);
  } catch (const Kind&) {
    return true;
  } catch (...) {
    return false;
  }
}

inline bool is_fatal(const std::exception_ptr& error) { return is_error<FatalError>(error); }

/// The message of `error`; empty: no error.
inline std::string error_text(const std::exception_ptr& error) {
  if (!error) return {};
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& known) {
    return known.what();
  } catch (...) {
    return "an unknown exception";
  }
}

/// A caller of `Model` broke a stated precondition: a defect of the engine, never repaired
/// silently.
class PreconditionError : public DecodeError {
 public:
  using DecodeError::DecodeError;
};

/// The engine was closed, or this process is a fork of the one that made it.
class EngineClosed : public Error {
 public:
  using Error::Error;
};

/// A forward pass was cut short on request. Internal: becomes an event, never reaches a caller.
class Aborted : public Error {
 public:
  using Error::Error;
};

}  // namespace specbranch
