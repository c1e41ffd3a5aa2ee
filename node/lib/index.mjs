import millpond from './index.cjs'

export const {
  open, Pond, NULL, version, PondError,
  OptionError, UrlError, InvalidKey, InvalidValue, LoaderError, TimeoutError, CacheError, StoreError, ClosedError,
  DeadlockError, CanceledError, Interrupted, OutOfMemory, ProtocolError, OverloadError, MisuseError, Absent,
  InvalidQuery, DuplicateError, ValidationError
} = millpond
export default millpond
